"""What a webhook is told: signed, in order, once, whatever happens on the way; a real server takes it."""

import base64
import hashlib
import hmac
import http.server
import json
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import rollout_steps, webhook
from router.definition import experiment_of
from router.errors import BadWebhook
from router.rollout_steps import Hands
from router.snapshot import first_split
from router.telling import OLD_S, REFUSED_S, headers_of, is_given_up, key_of, message_of, pause_s
from router.webhook import Teller, webhook_of
from store import experiments, rollout_tellings
from store.clock import wall_clock_us
from store.rollouts import Event

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PLAN = """
version = 1
stages = [{share = 0.1, units_min = 10, days_min = 1, days_max = 20}]
primary = {metric = "win_rate", effect = 0.05}
money = {margin_usd = 0.02}
"""


@pytest.fixture
def engine(migrated):
    made = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, wall_clock_us())
    experiments.ensure(migrated, made, first_split(made, "test"), "test")
    return migrated


@pytest.fixture
def hands(engine, clock):
    return Hands(engine=engine, key="main", actor="ana", clock=clock, lead_us=2_000_000)


class Receiver:
    """Keeps what is posted to it; answers with `status`, later where it is slow."""

    def __init__(self):
        self.got, self.status, self.extra, self.slow_s = [], 204, {}, 0.0
        mine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                mine.got.append((self.path, dict(self.headers), body))
                time.sleep(mine.slow_s)
                self.send_response(mine.status)
                for name, value in mine.extra.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_words):
                """Keeps silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/very-private?token=hush"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def ids(self):
        return [headers["webhook-id"] for _, headers, _ in self.got]


@contextmanager
def receiving():
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def teller(engine, receiver, clock):
    return Teller(engine, webhook_of(receiver.url, SECRET), clock, luck=lambda: 0.5)


def rolled(hands):
    """Three lines of a rollout."""
    rollout_steps.start(hands, PLAN, "ready")
    rollout_steps.pause(hands, "lunch")
    rollout_steps.resume(hands, "")


def told(engine):
    with engine.connect() as connection:
        return rollout_tellings.told(connection, "main")


def all_told(teller, rounds=20):
    return sum(teller.round() for _ in range(rounds))


def is_genuine(headers, body):
    """As the specification tells receivers to check it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{wanted}"


def test_each_line_is_told_once_in_order_and_signed(teller, hands, receiver, clock):
    rolled(hands)
    assert (all_told(teller), receiver.ids) == (3, ["main/1/1", "main/1/2", "main/1/3"])
    clock.after(OLD_S / 2)
    assert all_told(teller) == 0
    for path, headers, body in receiver.got:
        assert path == "/hooks/very-private?token=hush"
        assert is_genuine(headers, body)
        assert not is_genuine(headers, body + b" ")
    found = [json.loads(body) for _, _, body in receiver.got]
    assert [each["type"] for each in found] == ["rollout.started", "rollout.paused", "rollout.resumed"]
    assert (found[1]["data"]["actor"], found[1]["data"]["reason"]) == ("ana", "lunch")


def test_a_failure_is_tried_again_later_under_the_same_id(teller, hands, engine, receiver, clock):
    rolled(hands)
    receiver.status = 500
    assert all_told(teller) == 0
    assert (receiver.ids, told(engine).tries, told(engine).error) == (["main/1/1"], 1, "answered 500")
    clock.after(pause_s(1, 0.5) + 0.1)
    all_told(teller)
    assert receiver.ids == ["main/1/1"] * 2
    clock.after(pause_s(2, 0.5) + 0.1)
    receiver.status = 200
    assert all_told(teller) == 3
    assert receiver.ids == ["main/1/1"] * 3 + ["main/1/2", "main/1/3"]
    times = [headers["webhook-timestamp"] for _, headers, _ in receiver.got]
    assert times[0] < times[1] < times[2]  # of the attempt: receivers refuse old ones
    assert len({body for _, headers, body in receiver.got if headers["webhook-id"] == "main/1/1"}) == 1


def test_nobody_there_is_a_failure_without_an_address_in_log_or_sql(engine, hands, clock, caplog):
    with receiving() as gone:
        url = gone.url
    rolled(hands)
    caplog.set_level(logging.DEBUG)
    assert Teller(engine, webhook_of(url, SECRET), clock).round() == 0
    said = caplog.text + told(engine).error
    assert "no answer: ConnectionRefusedError" in said
    assert not any(word in said for word in ("127.0.0.1", "very-private", "hush", SECRET[6:]))


def test_a_redirect_is_not_followed(teller, hands, engine, receiver):
    with receiving() as other:
        receiver.status, receiver.extra = 307, {"Location": other.url}
        rolled(hands)
        assert teller.round() == 0
        assert (told(engine).error, other.got) == ("answered 307", [])


def test_what_is_refused_for_good_holds_up_no_later_line(teller, hands, engine, receiver, clock):
    rolled(hands)
    receiver.status = 400
    while told(engine) is None or not told(engine).given_up:
        teller.round()
        clock.after(3700)
    receiver.status = 200
    all_told(teller)
    first = len(receiver.ids) - 2
    assert first > 20, "it was tried for a day"
    assert receiver.ids == ["main/1/1"] * first + ["main/1/2", "main/1/3"]
    assert (told(engine).seq, told(engine).given_up) == (3, 1)


def test_lines_of_long_ago_stay_untold(teller, hands, receiver, clock):
    rolled(hands)
    clock.after(OLD_S + 1)
    rollout_steps.pause(hands, "late")
    assert (all_told(teller), receiver.ids) == (1, ["main/1/4"])


def test_of_many_senders_one_sends(engine, hands, receiver, clock):
    rolled(hands)
    receiver.slow_s = 0.2
    hook = webhook_of(receiver.url, SECRET)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(6):
            list(pool.map(lambda _: Teller(engine, hook, clock).round(), range(4)))
    assert receiver.ids == ["main/1/1", "main/1/2", "main/1/3"]


KILLED = """
import sys
from router.webhook import Teller, webhook_of
from store.clock import wall_clock_us
from store.sql import open_engine
secret = sys.stdin.readline().strip()
Teller(open_engine(sys.argv[1]), webhook_of(sys.argv[2], secret), wall_clock_us).round()
"""


def test_a_sender_that_is_killed_loses_nothing(engine, sql_url, hands, receiver, clock):
    """KILL -9 while the receiver still thinks: it is told again, under the same id, after the claim."""
    rolled(hands)
    receiver.slow_s = 5.0
    words = [sys.executable, "-c", KILLED, sql_url, receiver.url]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as sender:
        sender.stdin.write(SECRET + "\n")
        sender.stdin.flush()
        deadline_s = time.monotonic() + 30
        while not receiver.got:
            assert time.monotonic() < deadline_s, "nothing was sent"
            time.sleep(0.02)
        sender.kill()
    receiver.slow_s = 0.0
    teller = Teller(engine, webhook_of(receiver.url, SECRET), clock)
    clock.now_us = wall_clock_us()
    assert teller.round() == 0
    clock.after(webhook.CLAIM_S + 1)
    assert all_told(teller) == 3
    assert receiver.ids == ["main/1/1", "main/1/1", "main/1/2", "main/1/3"]


def test_a_receiver_that_drips_is_cut(teller, hands, engine, monkeypatch):
    monkeypatch.setattr(webhook, "WHOLE_S", 0.5)

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            for _ in range(200):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.05)

        def log_message(self, *_words):
            """Keeps silent."""

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_words):
            """We hang up: so we should."""

    server = Quiet(("127.0.0.1", 0), Dripping)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rolled(hands)
    began_s = time.monotonic()
    dripped = Teller(
        engine, webhook_of(f"http://127.0.0.1:{server.server_port}/", SECRET), teller.clock, lambda: 0.0
    )
    try:
        assert dripped.round() == 0
    finally:
        server.shutdown()
        server.server_close()
    assert time.monotonic() - began_s < 5.0
    assert told(engine).error.startswith("no answer: ")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "http:///x",
        "host/x",
        "https://user:word@host/x",
        "https://host/x#part",
        "file:///etc",
        "http://[host/x",
        "http://host:port/x",
        "http://host/a b",
        "http://host/a\r\nb",
    ],
)
def test_other_addresses_are_refused_without_being_said(url):
    with pytest.raises(BadWebhook) as refused:
        webhook_of(url, SECRET)
    assert url not in str(refused.value)


@pytest.mark.parametrize("secret", ["", "hush", "whsec_", "whsec_aGk=", "whsec_!" + SECRET[7:], SECRET[6:]])
def test_a_weak_or_broken_secret_is_refused_without_being_said(secret):
    with pytest.raises(BadWebhook) as refused:
        key_of(secret)
    assert len(secret) < 7 or secret not in str(refused.value)


def test_neither_address_nor_key_is_shown():
    hook = webhook_of("https://host/very-private", SECRET)
    assert "private" not in repr(hook)
    assert "key" not in repr(hook)


def test_the_signature_is_the_one_of_the_specification():
    """Made with `openssl dgst -sha256 -mac HMAC` from the same key and text."""
    message = message_of(line())
    made = headers_of(message, KEY, 1_674_087_231)
    text = f"{message.id}.1674087231.".encode() + message.body
    words = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}", "-binary"]
    digest = subprocess.run(words, input=text, capture_output=True, check=True).stdout
    assert made["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def line(**more):
    fields = {"experiment": "main", "seq": 7, "rollout": 2, "at_us": 1_767_225_600_000_000, "kind": "verdict"}
    fields |= {"stage": 0, "share": 0.1, "split_version": 3, "actor": "serve/ab"}
    return Event(**fields | more)


def test_no_path_and_no_evidence_is_told():
    said = message_of(
        line(cause="no_evidence", reason="the KILL file /srv/abctl/KILL is broken", evidence='{"x": 1}')
    ).body
    assert b"/srv" not in said
    assert b'"x"' not in said


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_are_bounded(tries, luck):
    assert 2.5 <= pause_s(tries, 0.0) <= pause_s(tries, luck) <= 3600
    assert pause_s(tries + 1, luck) >= pause_s(tries, luck)


@given(st.floats(0, 1e6), st.sampled_from([None, 302, 408, 409, 425, 429, 500, 503]))
def test_what_may_pass_is_never_given_up(age_s, status):
    assert not is_given_up(age_s, status)


@given(st.floats(0, REFUSED_S, exclude_max=True), st.integers(400, 499))
def test_nothing_is_given_up_within_a_day(age_s, status):
    """A wrong secret, or a receiver whose ingress comes back with a 404, costs no line."""
    assert not is_given_up(age_s, status)
