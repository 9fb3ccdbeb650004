"""What `abctl model train` cannot learn from, each in one sentence; what is only odd is learned from."""

import json
from importlib.metadata import version

import polars as pl
import pytest

from cli import failures
from market.tape import QUOTE_NAMES

ASSETS = ("btc", "btc", "eth", "btc", "btc", "sol", "btc", "btc")
"""As `recording` has them."""
ONCE = ("--arm", "base", "--output", "m", "--epochs", "1", "--no-register")


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
def test_a_corrupt_file(abctl, tmp_path, name, damage, recording):
    recording(tmp_path / "r")
    path = tmp_path / "r" / name
    path.write_bytes(damage(path.read_bytes()))
    sentence = refused(abctl, *ONCE, "--data", "r")
    assert f"{name} is not readable Parquet" in sentence and "import the recording again" in sentence


def test_bytes_that_were_overwritten(abctl, tmp_path, recording):
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


def test_a_recording_without_markets(abctl, tmp_path, recording):
    recording(tmp_path / "r", excluded="ends_early")
    assert "recording r has 0 windows of playable markets: at least 3" in refused(abctl, *ONCE, "--data", "r")


def test_too_few_to_judge_by(abctl, tmp_path, recording):
    recording(tmp_path / "r", ("btc", "btc"))
    assert "recording r has 2 windows of playable markets: at least 3" in refused(abctl, *ONCE, "--data", "r")


def test_an_asset_that_was_not_recorded(abctl, tmp_path, recording):
    recording(tmp_path / "r")
    sentence = refused(abctl, *ONCE, "--data", "r", "--market", "doge")
    assert sentence == "no recorded market is of DOGE: this recording has BTC, ETH, SOL"
    assert "1 windows of playable markets" in refused(abctl, *ONCE, "--data", "r", "--market", "eth")
    assert "give --data too" in refused(abctl, *ONCE, "--market", "BTC")


def test_only_the_asset_is_learned_from(abctl, tmp_path, recording):
    recording(tmp_path / "r")
    recording(tmp_path / "only", tuple(asset for asset in ASSETS if asset == "btc"))
    some = abctl("model", "train", *ONCE, "--data", "r", "--market", "BTC", "--batch-size", "32")
    assert some.code == 0, some.err
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert len(config["trained"]["markets"]) // 16 == ASSETS.count("btc") - 1, (
        "one market is left out between"
    )


def test_fewer_windows_than_a_batch(abctl, tmp_path, recording):
    recording(tmp_path / "r", ("btc",) * 3)
    sentence = refused(abctl, *ONCE, "--data", "r", "--batch-size", "5000")
    found = int(sentence.split("r has ")[1].split(" windows")[0])
    assert sentence.endswith(f"give a --batch-size of at most {found}, or more markets")
    assert abctl("model", "train", *ONCE, "--data", "r", "--batch-size", str(found)).code == 0


ONE_SIDED = {
    "null": pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(pl.col("up_ask")).alias("up_ask"),
    "zero": pl.when(pl.int_range(pl.len()) % 3 == 0).then(0.0).otherwise(pl.col("up_ask")).alias("up_ask"),
}


def test_no_quote_is_the_same_as_null_or_as_zero_and_is_learned_from(abctl, tmp_path, recording):
    digests = set()
    for name, expression in ONE_SIDED.items():
        recording(tmp_path / name, spoil=lambda ticks, e=expression: ticks.with_columns(e))
        told = abctl("model", "train", *ONCE, "--data", name, "--batch-size", "32")
        assert told.code == 0, told.err
        digests.add(json.loads((tmp_path / "m" / "config.json").read_text())["trained"]["data_digest"])
    assert len(digests) == 1


def test_gaps_are_learned_from(abctl, tmp_path, recording):
    recording(tmp_path / "r", spoil=lambda ticks: ticks.gather_every(7))
    told = abctl("model", "train", *ONCE, "--data", "r", "--batch-size", "16")
    assert told.code == 0, told.err


def test_a_recording_of_nobody_who_quotes(abctl, tmp_path, recording):
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


@pytest.mark.parametrize("name", ["up_won", "end_us"])
def test_a_market_without_its_outcome_or_end_teaches_nothing(abctl, tmp_path, name, recording):
    recording(tmp_path / "r")
    path = tmp_path / "r" / "markets.parquet"
    markets = pl.read_parquet(path)
    first = pl.int_range(pl.len()) == 0
    blank = pl.when(first).then(None).otherwise(pl.col(name)).alias(name)
    markets.with_columns(blank).write_parquet(path)
    said = refused(abctl, *ONCE, "--data", "r")
    assert f"{name} is null, but it is not excluded" in said


def test_a_tick_without_its_moment(abctl, tmp_path, recording):
    blank = pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col("tick_us")).alias("tick_us")
    recording(tmp_path / "r", spoil=lambda ticks: ticks.with_columns(blank))
    assert "tick_us of 1 ticks is null" in refused(abctl, *ONCE, "--data", "r")


def test_an_epoch_of_play_that_fills_no_batch(abctl, tmp_path):
    words = ("--method", "ppo", "--world", "decoy-fast", "--markets", "10", "--batch-size", "100000")
    said = refused(abctl, *ONCE, *words)
    assert "an epoch plays 16,384 windows, fewer than a batch of 100,000" in said
