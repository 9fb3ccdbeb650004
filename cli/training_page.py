"""`--dashboard`: a live page of a training, served on this machine only for as long as it runs.

The page asks for /state.json every second and draws; it fetches nothing else, and only this script runs.
"""

import base64
import hashlib
import json
import math
import threading
import time
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from arms.training import Epoch
from cli.failures import Refused
from cli.training_view import Seen

HOST = "127.0.0.1"
_LAST_LOOK_S = 3.0
"""How long the end waits for a page that is being watched to see it."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2933;margin:0 auto;max-width:76rem;padding:1.5rem}
h1{font-size:1.35rem;margin:0}#state{color:#52606d;margin:.1rem 0 .8rem}
progress{accent-color:#d1651b;height:.9rem;width:100%}
dl{display:flex;flex-wrap:wrap;gap:.4rem 2.2rem;margin:.8rem 0}dt{color:#52606d;font-size:.85rem}
dd{font-size:1.2rem;font-variant-numeric:tabular-nums;font-weight:600;margin:0}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr))}
figure{border:1px solid #dde3ea;border-radius:6px;margin:0;padding:.6rem}figcaption{font-weight:600}
svg{display:block;height:auto;width:100%}text{fill:#52606d;font:11px system-ui,sans-serif}
"""
_SCRIPT = """
"use strict";
const W = 420, H = 220, L = 62, R = 8, T = 10, B = 24, SVG = "http://www.w3.org/2000/svg";
const byId = id => document.getElementById(id);
const money = v => (v < 0 ? "-$" : "+$") + Math.abs(v).toFixed(3);
const number = v => Math.abs(v) >= 100 ? v.toFixed(0) : Math.abs(v) >= 10 ? v.toFixed(1) : v.toFixed(3);
function time(s) {
  const all = Math.round(s), two = n => String(n).padStart(2, "0");
  const h = Math.floor(all / 3600), m = Math.floor(all / 60) % 60;
  return h ? `${h}:${two(m)}:${two(all % 60)}` : `${m}:${two(all % 60)}`;
}
function make(name, facts, words) {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(facts)) e.setAttribute(key, value);
  if (words !== undefined) e.textContent = words;
  return e;
}
function draw(id, rows, epochs, best, name, spread, zero) {
  const found = rows.filter(r => Number.isFinite(r[name]));
  if (!found.length) return;
  const low = r => r[name] - (spread ? r[spread] : 0), high = r => r[name] + (spread ? r[spread] : 0);
  let least = Math.min(...found.map(low)), most = Math.max(...found.map(high));
  if (zero) { least = Math.min(least, 0); most = Math.max(most, 0); }
  if (most - least < 1e-9) { least -= 0.5; most += 0.5; }
  const x = n => L + (W - L - R) * (epochs > 1 ? (n - 1) / (epochs - 1) : 0.5);
  const y = v => T + (H - T - B) * (most - v) / (most - least);
  const at = (n, v) => `${x(n).toFixed(1)},${y(v).toFixed(1)}`;
  const label = zero ? money : number;
  const parts = [0, 0.5, 1].map(share => least + share * (most - least)).flatMap(v => [
    make("line", {x1: L, x2: W - R, y1: y(v), y2: y(v), stroke: "#dde3ea"}),
    make("text", {x: L - 6, y: y(v) + 4, "text-anchor": "end"}, label(v))]);
  parts.push(make("text", {x: L, y: H - 6}, "epoch 1"));
  parts.push(make("text", {x: W - R, y: H - 6, "text-anchor": "end"}, String(epochs)));
  if (zero) parts.push(make("line", {x1: L, x2: W - R, y1: y(0), y2: y(0), stroke: "#1f2933"}));
  if (spread) {
    const edge = found.map(r => at(r.epoch, high(r))).concat(found.map(r => at(r.epoch, low(r))).reverse());
    parts.push(make("polygon", {points: edge.join(" "), fill: "#4c6a92", opacity: 0.2}));
  }
  parts.push(make("polyline", {points: found.map(r => at(r.epoch, r[name])).join(" "), fill: "none",
    stroke: "#4c6a92", "stroke-width": 2}));
  const last = found[found.length - 1], kept = found.find(r => r.epoch === best);
  parts.push(make("circle", {cx: x(last.epoch), cy: y(last[name]), r: 3.5, fill: "#4c6a92"}));
  if (kept) parts.push(make("circle", {cx: x(best), cy: y(kept[name]), r: 5, fill: "none",
    stroke: "#d1651b", "stroke-width": 2}));
  byId(id).replaceChildren(...parts);
}
function show(s) {
  const rows = s.reports, last = rows[rows.length - 1], best = rows.find(r => r.epoch === s.best);
  const pnl = r => `${money(r.pnl_usd)} \\u00b1 ${r.pnl_se_usd.toFixed(3)}`;
  byId("title").textContent = document.title = s.title;
  byId("state").textContent = s.state === "training"
    ? `epoch ${s.epoch} of ${s.epochs}` + (s.left_s === null ? "" : `, ${time(s.left_s)} left`)
    : `${s.state} after epoch ${rows.length} of ${s.epochs}`;
  byId("bar").value = (rows.length + s.share) / s.epochs;
  if (!last) return;
  byId("loss").textContent = last.loss === null ? "-" : last.loss.toFixed(4);
  byId("accuracy").textContent = last.accuracy.toFixed(3);
  byId("pnl").textContent = pnl(last);
  byId("best").textContent = best ? `${pnl(best)}, epoch ${best.epoch}` : "-";
  byId("speed").textContent = Math.round(last.samples_per_s).toLocaleString("en");
  draw("loss-curve", rows, s.epochs, s.best, "loss", null, false);
  draw("accuracy-curve", rows, s.epochs, s.best, "accuracy", null, false);
  draw("pnl-curve", rows, s.epochs, s.best, "pnl_usd", "pnl_se_usd", true);
}
async function look() {
  let state = null;
  try {
    const answer = await fetch("state.json", {cache: "no-store"});
    state = await answer.json();
    show(state);
  } catch (error) {
    byId("state").textContent = "the training has ended or was stopped; these are the last numbers seen";
    return;
  }
  if (state.state === "training") setTimeout(look, 1000);
}
look();
"""
_CHARTS = {
    "loss-curve": "Loss",
    "accuracy-curve": "Accuracy",
    "pnl-curve": "Net PnL per market",
}
_NUMBERS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "pnl": "net PnL per market",
    "best": "best epoch, kept",
    "speed": "samples/s",
}


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {_hash_of(_SCRIPT)}; style-src {_hash_of(_STYLE)}; connect-src 'self'; "
    "img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def html() -> str:
    """The page; every number comes later."""
    charts = "".join(
        f'<figure><figcaption>{name}</figcaption><svg id="{id_}" viewBox="0 0 420 220" role="img" '
        f'aria-label="{name}"></svg></figure>'
        for id_, name in _CHARTS.items()
    )
    numbers = "".join(f'<div><dt>{name}</dt><dd id="{id_}">-</dd></div>' for id_, name in _NUMBERS.items())
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>Training</title><style>{_STYLE}</style></head><body>"
        '<h1 id="title">Training</h1><p id="state">not begun</p>'
        f'<progress id="bar" max="1" value="0"></progress><dl>{numbers}</dl>'
        f'<div class="charts">{charts}</div>'
        "<p>The ring marks the epoch that is kept; the band is one standard error.</p>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


class TrainingPage:
    """Serves from when it is made until the training has ended. Refused: the port is taken."""

    def __init__(self, seen: Seen, port: int) -> None:
        self._seen, self._state = seen, "training"
        self._looked_s, self._was_end_seen = -math.inf, threading.Event()
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            raise Refused(f"--port {port} cannot be had ({error.strerror}): name another, or 0") from error
        self._server.page = self
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self._server.server_port}/"

    def begun(self, before: tuple[Epoch, ...]) -> None:
        """Shown at the next look."""
        self._seen.begun(before)

    def batch(self, share: float) -> None:
        """Shown at the next look."""
        self._seen.batch(share)

    def told(self, epoch: Epoch) -> None:
        """Shown at the next look."""
        self._seen.told(epoch)

    def ended(self, words: str) -> None:
        """Lets a page that is open see the end, then serves no more."""
        self._state = words
        if time.monotonic() - self._looked_s < _LAST_LOOK_S:
            self._was_end_seen.wait(_LAST_LOOK_S)
        self._server.shutdown()
        self._server.server_close()

    def state(self) -> dict[str, Any]:
        """What /state.json answers; a number that is not finite is null."""
        seen, reports = self._seen, list(self._seen.reports)
        self._looked_s = time.monotonic()
        return {
            "title": seen.title,
            "state": self._state,
            "epochs": seen.epochs,
            "epoch": min(len(reports) + 1, seen.epochs),
            "share": seen.share,
            "left_s": seen.left_s,
            "best": seen.best.epoch if seen.best else None,
            "reports": [_finite(asdict(report)) for report in reports],
        }

    def was_told(self, state: str) -> None:
        """Somebody has got that state."""
        if state != "training":
            self._was_end_seen.set()


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    page: TrainingPage


class _Handler(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        """The page and its numbers, only under this machine's own name: a foreign page that got hold of a
        name for this address reads nothing."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in {HOST, "localhost"}:
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._answer("text/html; charset=utf-8", html())
        elif self.path == "/state.json":
            page = cast(_Server, self.server).page
            state = page.state()
            self._answer("application/json", json.dumps(state))
            page.was_told(state["state"])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(HTTPStatus.OK)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base names it
        """Says nothing: stderr is the training's."""
