"""`abctl data` on the recorded markets."""

import json


def test_import_then_info(abctl, shared_dir):
    source = shared_dir / "data" / "polymarket_btc15m_1s"
    told = abctl("data", "import", source, "recording", "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert found["markets"] >= 60
    again = abctl("data", "info", "recording")
    assert f"{found['markets']:,} (" in again.out
    assert max(map(len, again.out.splitlines())) <= 80


def test_the_raw_folder_is_no_recording_and_how_it_becomes_one(abctl, shared_dir):
    told = abctl("data", "info", shared_dir / "data" / "polymarket_btc15m_1s")
    assert told.code == 3
    assert "markets.parquet is missing" in told.sentence
    assert "`abctl data import CSV_FOLDER RECORDING`" in told.sentence


def test_a_folder_without_markets_is_refused(abctl, tmp_path):
    (tmp_path / "empty").mkdir()
    told = abctl("data", "import", "empty", "recording")
    assert told.code == 3
    assert "point to the folder" in told.sentence
