"""What an export holds is what SQL held at one moment, row by row and value by value."""

import hashlib
import json
import threading
import time

import polars as pl
import pytest
from sqlalchemy import select

from store import experiments, export
from store.errors import BadExport, TargetExists, UnknownExperiment
from store.export import Extract, read_manifest
from store.ingest import Shipment, ingest
from store.parquet_schema import PARTS, columns_of
from store.snapshot import snapshot

NOW_US = 9_000


def put(engine, *shipments, experiment="main"):
    return ingest(engine, experiment, list(shipments), NOW_US)


@pytest.fixture
def filled(engine, make):
    """Two experiments with every kind of row and every kind of value."""
    for key in ("main", "other"):
        experiment, first = make.experiment_and_split(key)
        experiments.create(engine, experiment, first, "me")
        experiments.append_split(engine, make.split(key, 2, 500_000))
    records = [
        make.decision(),
        make.decision(decision_id="d2", unit='日本 "u" 🚀', bot="b,2\n", forced=True, as_of_us=7, value=-0.0),
        make.decision(decision_id="d3", received_at_us=5_000, state=b"", sent_started_at_us=None),
        make.trade(won=True),
        make.trade(decision_id="parked", entry_price=1e-300, exit_price=0.3),
        make.market(pnl_micro=-(2**53), meta='{"a": [1]}'),
        make.market(bot="b,2\n", unit='日本 "u" 🚀', pnl_micro=2**53),
        make.market(bot="b3", unit='日本 "u" 🚀', pnl_micro=1),
        make.decision(decision_id="d4", unit='日本 "u" 🚀', bot="b3"),
        make.unserved(unit='日本 "u" 🚀', bot="b,2\n", killed=True, sent_started_at_us=None),
        make.unserved(unit="refused", received_at_us=5_000, weights={"base": 0.1, "transformer": 0.9}),
        make.market(pnl_micro=1, received_at_us=6_000),
    ]
    data = make.framed(records)
    put(engine, Shipment("j1", 0, data[:20] + b"\xff\x00" + data[22:]), Shipment("j2", 0, data))
    put(engine, make.shipment("k1", [make.decision("other"), make.unserved("other")]), experiment="other")
    return engine


def exported(engine, folder, extract=Extract()):  # noqa: B008
    with engine.connect() as connection, snapshot(connection):
        return export.export(connection, folder, extract, NOW_US)


def held(engine, part, **conditions):
    query = select(part.table).order_by(*(part.table.c[name] for name in part.order))
    for name, value in conditions.items():
        query = query.where(part.table.c[name] == value)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def same(found, expected):
    """Equal, and of the same types; -0.0 is not 0.0."""
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_what_is_read_back_is_what_sql_holds(part, filled, tmp_path):
    exported(filled, tmp_path / "out")
    frame = pl.read_parquet(tmp_path / "out" / part.file)
    rows = held(filled, part)
    assert rows
    same(frame.rows(named=True), rows)
    assert dict(frame.schema) == {name: kind() for name, kind in columns_of(part).items()}


def test_money_is_exact_where_no_float_is(filled, tmp_path):
    exported(filled, tmp_path / "out")
    units = pl.read_parquet(tmp_path / "out" / "units.parquet")
    assert units.schema["pnl_micro"] == pl.Int64
    assert 2**53 + 1 in units["pnl_micro"].to_list()


def test_the_manifest_tells_files_and_moment(filled, tmp_path, make):
    manifest = exported(filled, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert said["marks"] == make.marks(filled)(["j1", "j2", "k1"])
    assert (said["format"], said["taken_at_us"], said["experiment"]) == (1, NOW_US, None)
    for file in said["files"]:
        content = (tmp_path / "out" / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        frame = pl.read_parquet(tmp_path / "out" / file["name"])
        assert (file["rows"], list(file["columns"])) == (len(frame), frame.columns)
    assert read_manifest(tmp_path / "out") == manifest
    assert {p.name for p in tmp_path.joinpath("out").iterdir()} == {
        "manifest.json",
        *(f"{part.name}.parquet" for part in PARTS),
    }


def test_one_experiment_alone(filled, tmp_path):
    exported(filled, tmp_path / "out", Extract("other"))
    for part in PARTS:
        rows = pl.read_parquet(tmp_path / "out" / part.file).rows(named=True)
        same(rows, held(filled, part, **{part.experiment: "other"}))
    with pytest.raises(UnknownExperiment):
        exported(filled, tmp_path / "no", Extract("nobody"))
    assert not (tmp_path / "no").exists()


def test_since_and_until_are_half_open(filled, tmp_path):
    exported(filled, tmp_path / "early", Extract(until_us=5_000))
    exported(filled, tmp_path / "late", Extract(since_us=5_000))
    for part in PARTS:
        early, late = (
            pl.read_parquet(tmp_path / name / part.file).rows(named=True) for name in ("early", "late")
        )
        if part.time is None:
            assert early == late == held(filled, part)
            continue
        assert all(row[part.time] < 5_000 for row in early)
        assert all(row[part.time] >= 5_000 for row in late)
        assert sorted(map(repr, early + late)) == sorted(map(repr, held(filled, part)))


def test_nothing_is_ever_overwritten(filled, tmp_path):
    exported(filled, tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    with pytest.raises(TargetExists, match="name another place"):
        exported(filled, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_what_fails_leaves_nothing_behind(filled, tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(export, "sha256_of", broken)
    with pytest.raises(OSError, match="disk is full"):
        exported(filled, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    assert list(tmp_path.glob(".*")) == []


def test_a_base_without_rows(engine, tmp_path):
    manifest = exported(engine, tmp_path / "out")
    assert {file.rows for file in manifest.files} == {0}
    assert pl.read_parquet(tmp_path / "out" / "decisions.parquet").shape == (0, 31)


@pytest.mark.parametrize("harm", ["changed", "removed", "manifest", "format"])
def test_a_damaged_export_is_none(filled, tmp_path, harm):
    folder = tmp_path / "out"
    exported(filled, folder)
    if harm == "changed":
        content = bytearray((folder / "units.parquet").read_bytes())
        content[10] ^= 1
        (folder / "units.parquet").write_bytes(content)
    elif harm == "removed":
        (folder / "units.parquet").unlink()
    elif harm == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(BadExport, match="not a whole export"):
        read_manifest(folder)


def test_all_files_show_one_moment_while_a_writer_works(engine, make, tmp_path):
    """Each transaction brings a decision and its outcome: a view of two moments counts them apart."""
    stop, start = threading.Event(), 0

    def write():
        nonlocal start
        number = 0
        while not stop.is_set():
            unit = f"u{number}"
            records = [make.decision(decision_id=unit, unit=unit), make.market(unit=unit)]
            one = make.shipment("j", records, start)
            put(engine, one)
            start, number = one.stop, number + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        taken = [exported(engine, tmp_path / "out0")]
        give_up_at = time.monotonic() + 60
        while len(taken) < 4 or (taken[-1].marks == taken[0].marks and time.monotonic() < give_up_at):
            taken.append(exported(engine, tmp_path / f"out{len(taken)}"))
    finally:
        stop.set()
        writer.join()
    seen = []
    for number, manifest in enumerate(taken):
        rows = {file.table: file.rows for file in manifest.files}
        assert rows["decision"] == rows["outcome"] == rows["unit"]
        seen.append(rows["decision"])
        places = pl.read_parquet(tmp_path / f"out{number}" / "decisions.parquet")["position"]
        assert all(place < manifest.marks["j"] for place in places)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
