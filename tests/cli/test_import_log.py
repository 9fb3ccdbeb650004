"""`abctl import`: somebody else's log as an experiment, with real commands and real files."""

import csv
import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import text

from cli.failures import REFUSED, USAGE
from store.sql import open_engine

SHARED = Path(os.environ.get("ABCTL_SHARED", Path(__file__).parents[3] / "shared"))
CATS = SHARED / "data" / "ab_cookie_cats" / "cookie_cats.csv.gz"
ARMS = ("--control", "old", "--treatment", "new")
MAPS = ("--map", "unit=who", "--map", "arm=arm", "--map", "decided_at=at")
SHARE = ("--share", "new=0.5")
HEAD = ("who", "arm", "at", "won", "pnl")
ROWS = [
    (f"u{i}", "new" if i % 2 else "old", f"2026-01-05T10:{i % 60:02d}:00Z", str(i % 3 == 0), f"{i / 8 - 2}")
    for i in range(120)
]


@pytest.fixture
def log(tmp_path):
    """Writes rows as CSV and returns the path."""

    def written(rows, name="log.csv", head=HEAD):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])
        return tmp_path / name

    return written


@pytest.fixture
def load(abctl):
    """Imports a log and returns what is said."""

    def loaded(path, *words, key="own"):
        ran = abctl("import", path, "-e", key, *MAPS, *ARMS, *words, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    return loaded


def report(abctl, key="own"):
    ran = abctl("report", "-e", key, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.skipif(not CATS.exists(), reason=f"{CATS} is not there: set ABCTL_SHARED")
@pytest.mark.parametrize(
    ("column", "wins", "z", "p"),
    [("retention_1", (20_034, 20_119), 1.784, 0.0744), ("retention_7", (8_502, 8_279), 3.164, 0.00155)],
)
def test_published_numbers_and_the_real_alarm(abctl, column, wins, z, p):
    words = ("--map", "unit=userid", "--map", "arm=version", "--map", f"won={column}")
    coins = ("--control", "gate_30", "--treatment", "gate_40", "--share", "gate_40=0.5")
    ran = abctl("import", CATS, "-e", "cats", *words, *coins, "--at", "2016-01-05T00:00:00Z", "--json")
    assert json.loads(ran.out)["units"] == {"gate_30": 44_700, "gate_40": 45_489}
    found = report(abctl, "cats")
    arms = [found["arms"][arm] for arm in ("gate_30", "gate_40")]
    assert tuple(arm["wins"] for arm in arms) == wins
    assert abs(found["naive"]["z"]) == pytest.approx(z, abs=5e-4)
    assert found["naive"]["p"] == pytest.approx(p, rel=5e-3)
    assert found["srm"]["alarm"]
    assert found["srm"]["p"] == pytest.approx(0.0086, abs=5e-5)
    assert found["verdict"]["verdict"] == "cannot say: assignment is broken"
    assert "p = 0.0086" in found["verdict"]["reason"]
    assert [arm["units"] for arm in found["window"]["arms"].values()] == [0, 0]
    assert abctl("db", "verify", "-e", "cats").code == 0
    people = " ".join(abctl("report", "-e", "cats").out.split())
    assert "Assignment (SRM over all stages): ALARM" in people


@pytest.mark.skipif(not CATS.exists(), reason=f"{CATS} is not there: set ABCTL_SHARED")
def test_readers_are_told_that_there_is_one_moment(abctl, tmp_path):
    some = tmp_path / "some.csv"
    pl.read_csv(CATS).head(50).write_csv(some)
    words = ("--map", "unit=userid", "--map", "arm=version", "--map", "win=retention_1")
    coins = ("--control", "gate_30", "--treatment", "gate_40", "--share", "gate_40=0.5")
    ran = abctl("import", some, "-e", "cats", *words, *coins, "--at", "2016-01-05T00:00:00Z")
    said = " ".join(ran.out.split())
    assert "Experiment cats imported: 50 rows" in said
    assert "No row has a time: all are of one moment, 2016-01-05T00:00:00.000000Z (--at)" in said
    again = " ".join(
        abctl("import", some, "-e", "cats", *words, *coins, "--at", "2016-01-05T00:00:00Z").out.split()
    )
    assert "was imported before; nothing changed" in again


def test_the_same_log_twice_is_there_once(abctl, log, load):
    path = log(ROWS)
    first, again = (load(path, *SHARE, "--map", "pnl_usd=pnl") for _ in range(2))
    assert (first["is_new"], again["is_new"]) == (True, False)
    assert first["units"] == {"old": 60, "new": 60}
    found = report(abctl)
    assert [found["arms"][arm]["mature"] for arm in ("old", "new")] == [60, 60]
    total = sum(found["arms"][arm]["pnl_usd"] for arm in ("old", "new"))
    assert total == pytest.approx(sum(float(row[4]) for row in ROWS))
    for look in ("verify", "rebuild"):
        ran = abctl("db", look, "-e", "own")
        assert ran.code == 0
        assert "0 differences" in ran.out or "0 repaired" in ran.out


def test_a_renamed_copy_is_the_same_log(abctl, log, load, tmp_path):
    path = log(ROWS)
    load(path, *SHARE, "--map", "won=won")
    before = stored(f"sqlite:///{tmp_path / '.abctl' / 'abctl.db'}", "audit")
    copy = path.rename(path.with_name("copy.csv"))
    assert load(copy, *SHARE, "--map", "won=won")["is_new"] is False
    assert stored(f"sqlite:///{tmp_path / '.abctl' / 'abctl.db'}", "audit") == before


def test_the_audit_names_the_file_by_its_digest(abctl, log, load, tmp_path):
    path = log(ROWS)
    load(path, *SHARE, "--map", "won=won")
    audit = stored(f"sqlite:///{tmp_path / '.abctl' / 'abctl.db'}", "audit")
    (noted,) = [row for row in audit if row["action"] == "log.import"]
    detail = json.loads(noted["detail"])
    assert (detail["file"], detail["sha256"]) == ("log.csv", hashlib.sha256(path.read_bytes()).hexdigest())
    archived = next(row for row in audit if row["action"] == "experiment.archive")
    assert 0 <= archived["at_us"] - noted["at_us"] < 60_000_000


WORDS = (*SHARE, "--map", "won=won", "--map", "pnl_usd=pnl")
TABLES = ("decision", "outcome", "unit", "unitbot", "split", "stage", "arm")


def stored(url, table):
    """Every column of a table's rows of `own`, but for those that name the file."""
    engine = open_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT * FROM {table} WHERE experiment = 'own'")).mappings()
        found = [{n: row[n] for n in row if n not in {"journal_id", "first_journal_id"}} for row in rows]
    engine.dispose()
    return sorted(found, key=repr)


def test_csv_and_parquet_are_the_same_rows_on_both_engines(
    abctl, log, load, tmp_path, fresh_postgres_url, monkeypatch
):
    frame = pl.DataFrame(ROWS, schema=HEAD, orient="row").with_columns(
        pl.col("won") == "True", pl.col("at").str.to_datetime(time_zone="UTC"), pl.col("pnl").cast(float)
    )
    frame.write_parquet(tmp_path / "log.parquet")
    found = []
    for path in (log(ROWS), tmp_path / "log.parquet"):
        lite = f"sqlite:///{tmp_path / path.suffix}.db"
        monkeypatch.setenv("ABCTL_DATABASE_URL", lite)
        load(path, *WORDS)
        found.append(({table: stored(lite, table) for table in TABLES}, said_by_report(abctl)))
    monkeypatch.setenv("ABCTL_DATABASE_URL", fresh_postgres_url)
    load(log(ROWS), *WORDS)
    found.append(({table: stored(fresh_postgres_url, table) for table in TABLES}, said_by_report(abctl)))
    text_rows, typed_rows, postgres_rows = found
    assert len(text_rows[0]["decision"]) == len(ROWS)
    assert typed_rows == text_rows
    assert postgres_rows == text_rows


def said_by_report(abctl):
    found = report(abctl)
    return found["arms"], found["effect"], found["srm"]


def test_the_past_is_told_as_it_was(abctl, log, load):
    load(log(ROWS), *WORDS)
    ran = abctl("report", "-e", "own", "--as-of", "2026-01-05T10:29:30Z", "--json")
    assert ran.code == 0, ran.err
    early = json.loads(ran.out)["arms"]
    assert sum(arm["units"] for arm in early.values()) == 60  # two units a minute, 10:00 to 10:29


def test_columns_of_units_decisions_and_markets(abctl, log, load):
    head = (*HEAD, "market", "id", "action", "start")
    rows = [
        (*row, ("BTC", "ETH")[i % 4 < 2], f"d{i}", "buy", "2026-01-05T09:59:00Z")
        for i, row in enumerate(ROWS)
    ]
    more = ("market=market", "decision_id=id", "action=action", "started_at=start")
    load(log(rows, head=head), *WORDS, *(word for pair in more for word in ("--map", pair)))
    sliced = json.loads(abctl("report", "-e", "own", "--by", "market", "--json").out)["slices"]
    assert sorted(part["name"] for part in sliced["slices"]) == ["BTC", "ETH"]
    assert abctl("db", "verify", "-e", "own").code == 0


def test_error_rates_are_proved_on_it(abctl, log, load):
    load(log(ROWS), *SHARE, "--map", "won=won")
    ran = abctl("aa", "-e", "own", "--runs", "100", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["status"], found["units"], found["deals"]) == ("ok", 120, 100)


def test_logged_propensities_make_stages(abctl, log, load):
    head = (*HEAD, "e")
    rows = [(*row, "0.1" if i < 60 else "0.25") for i, row in enumerate(ROWS)]
    load(log(rows, head=head), "--map", "won=won", "--map", "propensity=e")
    stages = report(abctl)["stages"]
    assert [stage["weights"]["new"] for stage in stages] == [0.1, 0.25]
    assert [sum(stage["counts"].values()) for stage in stages] == [60, 60]


def test_an_outcome_that_is_not_there_is_missing(abctl, log, load):
    rows = [(*row[:3], "" if i == 7 else row[3], "") for i, row in enumerate(ROWS)]
    assert load(log(rows), *SHARE, "--map", "won=won")["units_without_outcome"] == 1
    assert report(abctl)["arms"]["new"]["missing"] == 1


@pytest.mark.parametrize(
    ("place", "cell", "words", "said"),
    [
        (0, "", ("--map", "won=won"), "log.csv, line 4, column who: must be 1 to 256 printable characters"),
        (1, "third", ("--map", "won=won"), "'third' is no arm; named are old, new"),
        (2, "yesterday", ("--map", "won=won"), "is not RFC 3339 with an offset"),
        (2, "1767607200", ("--map", "won=won"), "--time-unit s, ms or us"),
        (3, "maybe", ("--map", "won=won"), "'maybe' is neither true nor false"),
        (4, "inf", ("--map", "pnl_usd=pnl"), "log.csv, line 4, column pnl: 'inf' is not finite"),
        (4, "1e9", ("--map", "pnl_usd=pnl"), "beyond +-10,000,000 USD"),
        (4, "-1", ("--map", "won=won", "--map", "stake_usd=pnl"), "a stake is 0 or more"),
    ],
)
def test_a_bad_row_stops_everything_or_is_left_out(abctl, log, load, place, cell, words, said):
    rows = [[*row[:4], "1"] for row in ROWS]
    rows[2][place] = cell
    path = log(rows)
    ran = abctl("import", path, "-e", "own", *MAPS, *ARMS, *SHARE, *words)
    assert ran.code == REFUSED
    assert said in " ".join(ran.err.split())
    assert "no experiment 'own'" in abctl("report", "-e", "own").err or "nothing here" in abctl("report").err
    kept = load(path, *SHARE, *words, "--skip-bad")
    assert (kept["rows"], kept["rows_left_out"]) == (119, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--map", "won=won"), "shares are never guessed|none is ever guessed"),
        (SHARE, "map won or pnl_usd"),
        ((*SHARE, "--map", "won=won", "--map", "nonsense=arm"), "fields are unit, arm"),
        ((*SHARE, "--map", "won=won", "--map", "win=won"), "fields are unit, arm"),
        (("--share", "new=0.1234567", "--map", "won=won"), "six decimal places"),
    ],
)
def test_options_that_do_not_fit(abctl, log, words, said):
    ran = abctl("import", log(ROWS), "-e", "own", *MAPS, *ARMS, *words)
    assert ran.code == USAGE
    assert any(one in " ".join(ran.err.split()) for one in said.split("|")), ran.err


def test_a_column_that_is_not_there_is_named(abctl, log):
    ran = abctl("import", log(ROWS), "-e", "own", *MAPS, *ARMS, *SHARE, "--map", "won=gewonnen")
    assert ran.code == REFUSED
    assert "has no column gewonnen" in ran.err


def test_another_log_does_not_go_into_the_same_experiment(abctl, log, load):
    load(log(ROWS), *SHARE, "--map", "won=won")
    ran = abctl("import", log(ROWS[:50]), "-e", "own", *MAPS, *ARMS, *SHARE, "--map", "won=won")
    assert ran.code == REFUSED
    assert "holds something else" in ran.err


def test_rows_of_a_unit_must_agree(abctl, log):
    rows = [*ROWS, ("u0", "old", "2026-01-05T11:00:00Z", "False", "1")]
    ran = abctl("import", log(rows), "-e", "own", *MAPS, *ARMS, *SHARE, "--map", "won=won")
    assert ran.code == REFUSED
    assert "is won and not won" in ran.err


def test_an_imported_history_is_planned_from(abctl, log, load):
    load(log(ROWS), *SHARE, "--map", "won=won")
    ran = abctl("power", "-e", "own", "--from-history", "--lift", "0.1", "--units-per-day", "50", "--json")
    assert ran.code == 0, ran.err
    question = json.loads(ran.out)["question"]
    assert (question["baseline"], question["share"]) == (pytest.approx(20 / 60), 0.5)


def test_a_history_of_uneven_units_is_planned_from_and_drawn(abctl, log, load):
    """Trades within units: their number, its spread and the ICC are the log's, and so are the units drawn."""
    rows = [(f"{who}", *rest) for at, (who, *rest) in enumerate(ROWS) for _ in range(1 + at % 5)]
    load(log(rows), *SHARE, "--map", "won=won", "--metric", "profit_rate")
    words = ("-e", "own", "--from-history", "--per", "trade", "--lift", "0.1", "--units-per-day", "50")
    ran = abctl("power", *words, "--simulate", "200", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    question = found["question"]
    assert question["trials_per_unit"] == pytest.approx(3.0)
    assert question["cv"] > 0.3 and question["icc"] > 0.5
    assert (question["alpha"], question["plan_units"]) == (0.05, 2000)
    for each in (found["simulated"]["fixed"], found["simulated"]["sequential"]):
        assert each["low"] - 0.05 <= each["computed"] <= each["high"] + 0.05


def test_the_order_of_the_rows_changes_no_number(log, load, abctl):
    """All at one moment: a scale that is made of the first units must not hang on who stands first."""
    moment = "2026-01-05T10:00:00Z"
    rows = [
        (who, arm, moment, won, f"{i * i % 97 * (1 + i / 20)}")
        for i, (who, arm, _, won, _) in enumerate(ROWS)
    ]
    said = []
    for key, each in (("forwards", rows), ("backwards", rows[::-1])):
        load(log(each, f"{key}.csv"), "--map", "pnl_usd=pnl", *SHARE, key=key)
        found = report(abctl, key)
        said.append({name: found[name] for name in ("arms", "effect", "pnl_effect", "verdict", "gates")})
    assert said[0]["pnl_effect"]["low"] is not None
    assert said[0] == said[1]
