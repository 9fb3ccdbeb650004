"""The loop: bots trade through a real service before and after a change of the split; all books agree."""

import asyncio
import json

from abctl_client.client import Client

ROW = [0.0] * 18


def test_every_number_is_the_same_on_the_way_from_the_bots_to_the_report(idle_loop, tools):
    loop = idle_loop
    loop.service.start()
    first, second = tools.short_tapes(40), tools.short_tapes(40, first=40)
    loop.service.command("split", "set", "transformer", "0.1")
    loop.trade(first[:20], disturb=lambda: loop.service.command("split", "set", "transformer", "0.5"))
    loop.trade(first[20:] + second)
    loop.check_books()
    assert sum(len(result.trades) for result in loop.ledger.played) > 0
    versions = loop.sql("SELECT DISTINCT split_version FROM unit WHERE experiment = :experiment")
    assert {version for (version,) in versions} >= {2, 3}
    check_report(loop)
    check_report_without_a_service(loop)


def check_report(loop):
    """The report's counts against SQL written by hand."""
    report = loop.report()
    decided = loop.sql("SELECT arm, count(DISTINCT unit), count(*) FROM decision GROUP BY arm")
    shown = {arm: (row["units"], row["decisions"]) for arm, row in report["arms"].items() if row["units"]}
    assert shown == {arm: (units, decisions) for arm, units, decisions in decided}
    per_unit = """
        SELECT d.arm, count(*), count(CASE WHEN o.pnl > 0 THEN 1 END), sum(o.traded) FROM
          (SELECT unit, min(arm) AS arm FROM decision GROUP BY unit) d JOIN
          (SELECT unit, sum(pnl_micro) AS pnl, max(CASE WHEN trades > 0 THEN 1 ELSE 0 END) AS traded
           FROM outcome WHERE kind = 'market' GROUP BY unit) o ON o.unit = d.unit GROUP BY d.arm"""
    for arm, mature, wins, traded in loop.sql(per_unit):
        row = report["arms"][arm]
        assert (row["mature"], row["wins"], row["traded"]) == (mature, wins, traded)
        assert (row["pending"], row["missing"]) == (0, 0)


def check_report_without_a_service(loop):
    with_service = loop.report()["arms"]
    loop.service.stop()
    words = ("report", "--days", "7", "--format", "json")
    assert json.loads(loop.service.command(*words))["arms"] == with_service


def test_what_is_cut_off_is_a_subset_and_all_is_equal_after_a_resend(loop, tools):
    asyncio.run(cut_off(loop, tools.short_tapes(16)))
    answered, sent = set(loop.ledger.answered), set(loop.ledger.sent)
    loop.service.stop()
    held = {decision_id for decision_id, _ in loop.sql(tools.DECISIONS)}
    assert len(answered) >= 300
    assert answered <= held <= sent
    loop.service.start()
    asyncio.run(resend(loop, sent - answered))
    tools.wait_until(lambda: {row[0] for row in loop.sql(tools.DECISIONS)} == sent, 20.0, 0.1)
    assert dict(loop.sql(tools.DECISIONS)) == loop.ledger.answered


async def cut_off(loop, tapes):
    """The bots die in the middle of their requests."""
    trading = asyncio.create_task(loop.trading(tapes, None, [loop.service.url]))
    while len(loop.ledger.answered) < 300:  # noqa: ASYNC110
        await asyncio.sleep(0)
    trading.cancel()
    await asyncio.gather(trading, return_exceptions=True)


async def resend(loop, ids):
    async with Client(loop.service.url) as client:
        for decision_id in ids:
            unit = loop.ledger.sent[decision_id]
            decision = await client.decide(unit, [ROW], decision_id=decision_id, bot="bot-0")
            loop.ledger.answered[decision_id] = decision.arm


def test_two_workers_share_the_work_and_their_metrics_add_up(tools):
    with tools.open_loop(flags=("--workers", "2")) as loop:
        loop.service.start()
        assert len(loop.pids("worker")) == 2
        loop.split("0.5")
        loop.trade(tools.short_tapes(16))
        loop.check_books()
        journals = "SELECT count(DISTINCT journal_id) FROM decision WHERE experiment = :experiment"
        assert loop.sql(journals) == [(2,)]
        answered = len(loop.ledger.answered)
        tools.wait_until(lambda: counted(loop.get("/metrics")) == answered, timeout_s=5)  # told now and then
        for _ in range(4):
            assert counted(loop.get("/metrics")) == answered


def counted(exposition):
    """Decisions that were answered, by /metrics."""
    lines = [line for line in exposition.splitlines() if line.startswith("abctl_requests_total")]
    return sum(float(line.split()[-1]) for line in lines if '"/v1/decide"' in line and '"200"' in line)
