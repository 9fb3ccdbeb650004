"""Other servers with the stock model beside abctl, in turns, on the core where our worker runs."""

from importlib.metadata import version
from statistics import median

from speed import bodies
from speed.decide_part import ratio
from speed.found import Section, at_least
from speed.lab import Lab
from speed.peer import PEERS, Missing, Peer, load_of, started, version_of
from speed.servers import Server
from speed.wrk import Closed, checked

HEADER = ("server", "version", "requests/s", "p50 ms", "p99 ms", "CPU ms/1,000", "abctl is")
_NOTE = (
    "CPU is that of all processes of a server. Peers run the stock model; what answers requests shares core "
    "0, what keeps house (Ray's) is on core 1."
)


def measured(lab: Lab) -> list[Section]:
    """One table; a peer that is not there stands under it with the reason."""
    _, ours = lab.prepare("transformer")
    rows, findings, notes, all_ours = [], [], [_NOTE], []
    for peer in PEERS:
        try:
            with started(peer, lab) as server:
                mine, theirs = _in_turns(lab, ours, server, peer)
        except Missing as why:
            notes.append(f"Not measured: {peer.name} ({peer.needs}): {why}.")
            continue
        times = ratio(mine, theirs)
        all_ours += mine
        rows.append(_row(peer.name, version_of(peer, lab), theirs, times))
        if peer.target:
            findings.append(at_least(f"requests/s of {peer.name}", times, peer.target))
    if all_ours:
        rows.append(_row("abctl", version("abctl"), all_ours, 1.0))
    title = "Beside other servers, all to transformer"
    return [Section("peers", title, HEADER, tuple(rows), tuple(findings), tuple(notes))]


def _in_turns(lab: Lab, ours: Server, server: Server, peer: Peer) -> tuple[list[Closed], list[Closed]]:
    mine, theirs = [], []
    load = load_of(peer, lab.folder)
    lab.closed(server, load, seconds=1)
    for _ in range(lab.rounds):
        mine.append(checked(lab.closed(ours, bodies.decisions(lab.folder)), ours.name))
        theirs.append(checked(lab.closed(server, load), peer.name))
    return mine, theirs


def _row(name: str, release: str, runs: list[Closed], times: float) -> tuple[str, ...]:
    cpu = [sum(used for role, used in run.cpu_per_1000().items() if role != "wrk") for run in runs]
    return (
        name,
        release,
        f"{median(run.per_s for run in runs):,.0f}",
        f"{median(run.counted.p50_us for run in runs) / 1000:.2f}",
        f"{median(run.counted.p99_us for run in runs) / 1000:.2f}",
        f"{median(cpu):,.0f}",
        f"{times:.1f}x",
    )
