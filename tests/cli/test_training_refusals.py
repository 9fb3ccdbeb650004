"""What `abctl model train` cannot learn from, each in one sentence; what is only odd is learned from."""

import json
from importlib.metadata import version

import numpy as np
import polars as pl
import pytest

from cli import failures
from cli.lab import WORLDS
from market.recording import DEPTH_NAMES, MARKET_SCHEMA, TICK_SCHEMA, write_recording
from market.tape import QUOTE_NAMES

ONCE = ("--arm", "base", "--output", "m", "--epochs", "1", "--no-register")
ASSETS = ("btc", "btc", "eth", "btc", "btc", "sol", "btc", "btc")


def recording(folder, assets=ASSETS, spoil=lambda ticks: ticks, excluded=None):
    """Simulated markets as a recording of these assets; `spoil` makes the ticks odd."""
    ticks, rows = [], []
    for i, asset in enumerate(assets):
        tape = WORLDS["decoy-fast"].tape(i)
        name, start_us = f"{asset}-updown-15m-{i}", 10_000_000_000 * i
        end_us = start_us + int(tape.end_us - tape.tick_us[0])
        quotes = np.where(tape.prices == 0, np.nan, tape.prices / 1e6)
        columns = {name: quotes[:, i] for i, name in enumerate(QUOTE_NAMES)}
        columns |= {name: tape.depths[:, i] / 1e6 for i, name in enumerate(DEPTH_NAMES)}
        at_us = tape.tick_us - tape.tick_us[0] + start_us
        ticks.append(pl.DataFrame({"market": [name] * len(at_us), "tick_us": at_us, **columns}, TICK_SCHEMA))
        counts = dict.fromkeys(("gaps", "max_gap_us", "one_sided", "crossed", "duplicates"), 0)
        facts = {"market": name, "start_us": start_us, "end_us": end_us, "up_won": tape.up_won}
        rows.append(
            {**facts, "excluded": excluded, "ticks": len(at_us), **counts, "fees": "none", "source": "x"}
        )
    write_recording(folder, spoil(pl.concat(ticks)), pl.DataFrame(rows, MARKET_SCHEMA))


def refused(abctl, *words):
    told = abctl("model", "train", *words)
    assert told.code == failures.REFUSED, told.err
    return told.sentence


def test_an_empty_folder(abctl, tmp_path):
    (tmp_path / "r").mkdir()
    assert "markets.parquet is missing: a recording is a folder" in refused(abctl, *ONCE, "--data", "r")


@pytest.mark.parametrize("name", ["ticks.parquet", "markets.parquet"])
@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b"not parquet", lambda b: b[: len(b) // 2], lambda b: b[:-9]]
)
def test_a_corrupt_file(abctl, tmp_path, name, damage):
    recording(tmp_path / "r")
    path = tmp_path / "r" / name
    path.write_bytes(damage(path.read_bytes()))
    sentence = refused(abctl, *ONCE, "--data", "r")
    assert f"{name} is not readable Parquet" in sentence and "import the recording again" in sentence


def test_bytes_that_were_overwritten(abctl, tmp_path):
    """Whatever the damage hits: a sentence, no traceback."""
    recording(tmp_path / "r")
    path = tmp_path / "r" / "ticks.parquet"
    whole, codes = path.read_bytes(), set()
    for at in range(8, len(whole) - 600, len(whole) // 12):
        path.write_bytes(whole[:at] + b"\xff" * 600 + whole[at + 600 :])
        told = abctl("model", "train", *ONCE, "--data", "r")
        codes.add(told.code)
        assert told.code == 0 or told.sentence
    assert failures.REFUSED in codes and codes <= {0, failures.REFUSED}


def test_a_recording_without_markets(abctl, tmp_path):
    recording(tmp_path / "r", excluded="ends_early")
    assert "recording r has 0 playable markets: at least 3" in refused(abctl, *ONCE, "--data", "r")


def test_too_few_to_judge_by(abctl, tmp_path):
    recording(tmp_path / "r", ("btc", "btc"))
    assert "recording r has 2 playable markets: at least 3" in refused(abctl, *ONCE, "--data", "r")


def test_an_asset_that_was_not_recorded(abctl, tmp_path):
    recording(tmp_path / "r")
    sentence = refused(abctl, *ONCE, "--data", "r", "--market", "doge")
    assert sentence == "no recorded market is of DOGE: this recording has BTC, ETH, SOL"
    assert "1 playable markets" in refused(abctl, *ONCE, "--data", "r", "--market", "eth")
    assert "give --data too" in refused(abctl, *ONCE, "--market", "BTC")


def test_only_the_asset_is_learned_from(abctl, tmp_path):
    recording(tmp_path / "r")
    recording(tmp_path / "only", tuple(asset for asset in ASSETS if asset == "btc"))
    some = abctl("model", "train", *ONCE, "--data", "r", "--market", "BTC", "--batch-size", "32")
    assert some.code == 0, some.err
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert len(config["trained"]["markets"]) // 16 == ASSETS.count("btc") - 1, (
        "one market is left out between"
    )


def test_fewer_windows_than_a_batch(abctl, tmp_path):
    recording(tmp_path / "r", ("btc",) * 3)
    sentence = refused(abctl, *ONCE, "--data", "r", "--batch-size", "5000")
    found = int(sentence.split("r has ")[1].split(" windows")[0])
    assert sentence.endswith(f"give a --batch-size of at most {found}, or more markets")
    assert abctl("model", "train", *ONCE, "--data", "r", "--batch-size", str(found)).code == 0


ONE_SIDED = {
    "null": pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(pl.col("up_ask")).alias("up_ask"),
    "zero": pl.when(pl.int_range(pl.len()) % 3 == 0).then(0.0).otherwise(pl.col("up_ask")).alias("up_ask"),
}


def test_no_quote_is_the_same_as_null_or_as_zero_and_is_learned_from(abctl, tmp_path):
    digests = set()
    for name, expression in ONE_SIDED.items():
        recording(tmp_path / name, spoil=lambda ticks, e=expression: ticks.with_columns(e))
        told = abctl("model", "train", *ONCE, "--data", name, "--batch-size", "32")
        assert told.code == 0, told.err
        digests.add(json.loads((tmp_path / "m" / "config.json").read_text())["trained"]["data_digest"])
    assert len(digests) == 1


def test_gaps_are_learned_from(abctl, tmp_path):
    recording(tmp_path / "r", spoil=lambda ticks: ticks.gather_every(7))
    told = abctl("model", "train", *ONCE, "--data", "r", "--batch-size", "16")
    assert told.code == 0, told.err


def test_a_recording_of_nobody_who_quotes(abctl, tmp_path):
    nothing = [pl.lit(None, pl.Float64).alias(name) for name in QUOTE_NAMES]
    recording(tmp_path / "r", spoil=lambda ticks: ticks.with_columns(nothing))
    assert "no tick is marked for use" in refused(abctl, *ONCE, "--data", "r")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "dream"], "--method must be one of"),
        (["--dropout", "0.2"], "arm base has no dropout"),
        (["--learning-rate", "0"], "learning_rate is 0.0: it must be above 0"),
        (["--learning-rate", "nan"], "learning_rate is nan: it must be above 0"),
        (["--finish"], "--finish needs a checkpoint"),
        (["--finish", "--no-resume"], "give one of them"),
        (["--preset", "huge"], "preset base/huge does not exist"),
        (["--output", "."], "--output must name a folder"),
        (["--output", "notes"], "notes holds mine.txt"),
        (["--output", "notes/mine.txt"], "is not a folder"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_before_it_begins(abctl, tmp_path, flags, said):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    assert said in refused(abctl, *ONCE, "--markets", "10", *flags)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".training")] in (
        [],
        ["m.training"],
    )


def test_what_decides_the_weights_is_in_the_artefact(abctl, tmp_path):
    words = ("--arm", "transformer", "--output", "m", "--epochs", "1", "--markets", "10", "--no-register")
    ids, usual = set(), {"dropout": "0.1", "batch size": "64", "learning rate": "0.002"}
    for extra, changed in (
        ((), {}),
        (("--dropout", "0.4", "--batch-size", "32"), {"dropout": "0.4", "batch size": "32"}),
    ):
        told = abctl("model", "train", *words, *extra, "--json")
        assert told.code == 0, told.err
        ids.add(json.loads(told.out)["id"])
        made = json.loads((tmp_path / "m" / "config.json").read_text())["trained"]
        assert (usual | changed).items() <= made["config"].items()
        assert made["config"]["backend"].startswith("torch ")
        assert made["code"] == f"abctl {version('abctl')}"
    assert len(ids) == 2


@pytest.mark.parametrize("name", [".env", "notes.txt", "deeper/notes.txt"])
def test_a_folder_with_something_of_ones_own_is_never_replaced(abctl, tmp_path, name):
    """Hidden files, too: a folder is replaced as a whole."""
    mine = tmp_path / "m" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    told = abctl("model", "train", "--arm", "base", "--markets", "10", "--epochs", "1", "--output", "m")
    assert told.code == 3
    assert f"m holds {name.split('/')[0]}, which is no part of a model" in told.sentence
    assert mine.read_text() == "mine"
