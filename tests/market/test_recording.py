import gzip

import numpy as np
import polars as pl
import pytest

from arms.schema import MARKET_V1
from market.errors import RecordingError
from market.evaluation import play, totals_of
from market.labels import MARKET_EXIT, labelled
from market.oracles import hold, momentum
from market.polymarket_1s import import_polymarket_1s
from market.recording import info, read_markets, read_tapes

HEADER = (
    "Timestamp,TargetTime,Expiration,UpBid,UpAsk,UpMid,UpSpread,UpBidLiquidity,UpAskLiquidity,"
    "DownBid,DownAsk,DownMid,DownSpread,DownBidLiquidity,DownAskLiquidity"
)
UP_WON = "0.99,0.0,0,0,50.5,0.0,0.0,0.01,0,0,0.0,70.25"
DOWN_WON = "0.0,0.01,0,0,0.0,70.25,0.99,0.0,0,0,50.5,0.0"
EVEN = "0.49,0.50,0,0,100.0,200.0,0.49,0.52,0,0,300.0,400.0"


def row(clock, quotes, minute=0, day="2025-12-26"):
    return f"{day} 10:{clock},{day} 10:{minute:02d}:00,{day} 10:{minute + 15}:00,{quotes}"


def imported(tmp_path, rows, name="market_data_20251226.csv"):
    source = tmp_path / "csv"
    source.mkdir(exist_ok=True)
    (source / name).write_text("\n".join([HEADER, *rows]) + "\n")
    return import_polymarket_1s(source, tmp_path / "out")


def test_quotes_arrive_in_micro_and_zero_is_no_quote(tmp_path):
    imported(tmp_path, [row("00:01", EVEN), row("14:58", UP_WON)])
    (tape,) = read_tapes(tmp_path / "out")
    assert tape.market == "btc-updown-15m-1766743200"
    assert tape.prices.tolist() == [[490_000, 500_000, 490_000, 520_000], [990_000, 0, 0, 10_000]]
    assert tape.depths[1].tolist() == [50_500_000, 0, 0, 70_250_000]
    assert tape.up_won and tape.end_us == 1_766_744_100_000_000
    assert tape.tick_us[0] == 1_766_743_201_000_000
    assert tape.fees.name == "none"


@pytest.mark.parametrize(
    ("last", "clock", "reason"),
    [
        (UP_WON, "14:58", None),
        (DOWN_WON, "14:58", None),
        (EVEN, "14:58", "outcome_ambiguous"),
        ("0.99,0.0,0,0,1,0,0.5,0.6,0,0,1,1", "14:58", "outcome_ambiguous"),
        ("0.0,0.0,0,0,0,0,0.0,0.0,0,0,0,0", "14:58", "outcome_ambiguous"),
        (UP_WON, "14:30", "ends_early"),
    ],
)
def test_the_outcome_comes_from_the_last_quotes_or_not_at_all(tmp_path, last, clock, reason):
    found = imported(tmp_path, [row("00:01", EVEN), row(clock, last)])
    assert found.excluded == (((reason, 1),) if reason else ())
    markets = read_markets(tmp_path / "out")
    assert markets["up_won"].to_list() == [None if reason else last == UP_WON]
    assert len(list(read_tapes(tmp_path / "out"))) == (0 if reason else 1)


def test_gaps_duplicates_one_sided_and_crossed_rows_are_counted(tmp_path):
    crossed = "0.51,0.50,0,0,1,1,0.49,0.52,0,0,1,1"
    rows = [row(c, q) for c, q in (("00:01", EVEN), ("00:01", crossed), ("00:02", EVEN), ("14:58", UP_WON))]
    found = imported(tmp_path, rows)
    assert (found.ticks, found.duplicates, found.gaps, found.one_sided, found.crossed) == (3, 1, 1, 1, 1)
    assert found.max_gap_us == 896_000_000


def test_rows_may_come_in_any_order_and_markets_interleaved(tmp_path):
    rows = [row("00:01", EVEN), row("00:02", EVEN), row("14:58", UP_WON)]
    later = [row("15:01", EVEN, 15), row("29:58", DOWN_WON, 15)]
    imported(tmp_path, [later[1], rows[2], rows[0], later[0], rows[1]])
    tapes = list(read_tapes(tmp_path / "out"))
    assert [len(tape.tick_us) for tape in tapes] == [3, 2]
    assert [tape.up_won for tape in tapes] == [True, False]
    assert all((np.diff(tape.tick_us) > 0).all() for tape in tapes)


def test_importing_twice_gives_the_same_bytes(tmp_path):
    rows = [row("00:01", EVEN), row("14:58", UP_WON)]
    imported(tmp_path, rows)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    imported(tmp_path, rows)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("00:01", EVEN.replace("0.49", "cheap", 1))], "cannot be read as market data"),
        (["not a time" + row("00:01", EVEN)[19:]], "cannot be read as market data"),
        ([row("00:01", EVEN, day="2026-01-07")], "taker fees began"),
    ],
)
def test_corrupt_files_are_refused_by_name(tmp_path, rows, said):
    with pytest.raises(RecordingError, match=said):
        imported(tmp_path, rows)


def test_truncated_gzip_and_missing_columns_are_refused(tmp_path):
    whole = gzip.compress("\n".join([HEADER, *(row("00:01", EVEN) for _ in range(500))]).encode())
    (tmp_path / "market_data_1.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match=r"market_data_1\.csv\.gz cannot be read"):
        import_polymarket_1s(tmp_path, tmp_path / "out")
    (tmp_path / "market_data_1.csv.gz").unlink()
    (tmp_path / "market_data_1.csv").write_text("Timestamp,UpBid\n2025-12-26 10:00:00,0.4\n")
    with pytest.raises(RecordingError, match="cannot be read"):
        import_polymarket_1s(tmp_path, tmp_path / "out")


def test_empty_folders_and_broken_recordings_say_what_to_do(tmp_path):
    with pytest.raises(RecordingError, match="point to the folder"):
        import_polymarket_1s(tmp_path, tmp_path / "out")
    with pytest.raises(RecordingError, match="is missing"):
        info(tmp_path)
    imported(tmp_path, [row("00:01", EVEN), row("14:58", UP_WON)])
    ticks = tmp_path / "out" / "ticks.parquet"
    ticks.write_bytes(ticks.read_bytes()[:-50])
    with pytest.raises(RecordingError, match="not readable Parquet"):
        list(read_tapes(tmp_path / "out"))
    pl.DataFrame({"market": [1]}).write_parquet(ticks)
    with pytest.raises(RecordingError, match="column market is Int64, it must be String"):
        list(read_tapes(tmp_path / "out"))


@pytest.fixture(scope="module")
def real(tmp_path_factory, shared_part):
    source = shared_part("data", "polymarket_btc15m_1s")
    out = tmp_path_factory.mktemp("real")
    return import_polymarket_1s(source, out), out


def test_the_real_recording_is_what_its_notice_says(real):
    found, out = real
    assert (found.markets, found.playable) == (68, 66)
    assert found.excluded == (("ends_early", 1), ("outcome_ambiguous", 1))
    # 60,443 rows in the files.
    assert (found.ticks + found.duplicates, found.ticks) == (60_443, 59_659)
    assert found.max_gap_us == 64_000_000 and found.crossed == 0
    markets = read_markets(out).filter(pl.col("excluded").is_null())
    days = markets.group_by(pl.col("start_us") // 86_400_000_000).len().sort("start_us")["len"].to_list()
    assert days == [32, 34]


def test_real_markets_can_be_played_and_labelled(real):
    tapes = list(read_tapes(real[1]))[:12]
    for tape in tapes:
        MARKET_V1.validate(tape.features)
    assert totals_of(play(hold, tapes, 5)).traded_share == 0
    assert totals_of(play(momentum, tapes, 5)).trades_per_market > 0
    episodes = labelled(tapes, MARKET_EXIT, seed=0)
    assert sum(int(episode.use.sum()) for episode in episodes) > 2_000
