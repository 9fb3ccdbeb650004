"""The table of methods: what is kept is not trained again, and what cannot be said stays empty."""

import methods
import msgspec
import pytest
import quality
from speed.page import placed

from cli.lab import simulated_course
from market.oracles import decoy_oracle


def line(method, seed, pnl_usd=1.0, **others):
    facts = {"low": 0.5, "high": 1.5, "reason": "", "profit_share": 0.5, "traded_share": 0.6, "epoch": 3}
    return methods.Line(method=method, seed=seed, pnl_usd=pnl_usd, trained_s=9.0, **(facts | others))


def test_what_is_kept_is_told_and_not_trained_again(tmp_path):
    kept = [line("`bc`", 1), line("`iql`", 2, -0.25)]
    results = tmp_path / "r.jsonl"
    results.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in kept))
    before = results.read_bytes()
    assert list(methods.lines([("bc", 1), ("iql", 2)], 1, results)) == kept
    assert results.read_bytes() == before


def test_the_tables_have_every_training_and_the_median_of_each_method():
    oracle = line("oracle, 10 ticks", 0, 4.0, low=None, high=None, reason="all alike", epoch=0)
    found = [line("`iql`", seed, usd) for seed, usd in ((2, 3.0), (1, -1.0), (3, 1.0))] + [
        line("`bc`", 1, 2.0)
    ]
    rows = [
        [cell.strip() for cell in row.strip("| ").split("|")]
        for row in methods.text_of([oracle], methods.ordered(found)).splitlines()
        if row.startswith("| ")
    ]
    assert ["`bc`", "1", "+2.000", "50%", "50.0%", "+2.000"] in rows
    assert ["`iql`", "3", "+1.000", "25%", "50.0%", "-1.000"] in rows
    assert ["oracle, 10 ticks", "", "+4.000", "", "", "50.0%", "60.0%", "", "", "all alike"] in rows
    by_seed = [row[:3] for row in rows if row[0].startswith("`") and len(row) > 6]
    assert by_seed == [
        ["`bc`", "1", "+2.000"],
        ["`iql`", "1", "-1.000"],
        ["`iql`", "2", "+3.000"],
        ["`iql`", "3", "+1.000"],
    ]


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_trains_and_is_judged(tmp_path, monkeypatch, method):
    """The course of the table, of 20 markets and one epoch each."""
    monkeypatch.setattr(methods, "EPOCHS", 1)
    monkeypatch.setattr(methods, "PPO_EPOCHS", 1)
    artefact = methods.trained(method, simulated_course(methods.WORLD, 20, 1), 1, tmp_path)
    assert artefact.preset == methods.PRESET and artefact.window == methods.LONG
    origin = {"bc": "cloning", "ppo": "ppo", "bc+ppo": "ppo from"}.get(method, f"offline {method}")
    assert origin in artefact.trained.origin


def test_an_oracle_is_judged_on_markets_that_no_seed_learns_from(monkeypatch):
    monkeypatch.setattr(methods, "TEST_MARKETS", 30)
    tests = {t.digest for t in simulated_course(methods.WORLD, 30, methods.TEST_SEED).lessons}
    for seed in (1, 2, 3):
        course = simulated_course(methods.WORLD, methods.TRAIN_MARKETS, seed)
        assert not tests & {tape.digest for tape in (*course.lessons, *course.judges)}
    short, long = (methods.judged(decoy_oracle(window), window) for window in (methods.SHORT, methods.LONG))
    assert short.traded_share == 0.0
    assert long.pnl_usd.estimate > 0


def test_the_page_holds_both_tables_apart():
    """A new table by method leaves the one of cloning as it is, and the other way round."""
    page = quality.PAGE.read_text()
    for name in ("cloning", "methods"):
        replaced = placed(page, name, "x")
        other = {"cloning": methods.HEAD.splitlines()[0], "methods": quality.HEAD.splitlines()[0]}[name]
        assert f"<!-- {name}: begin -->\nx\n<!-- {name}: end -->" in replaced
        assert other in replaced


def test_what_the_page_says_of_the_settings_is_what_is_run():
    page = quality.PAGE.read_text()
    assert methods.HEAD in page
    assert quality.HEAD in page
