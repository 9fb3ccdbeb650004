"""Logs of others as files: every cell as it stands, and every file that cannot be read says why."""

import gzip
import hashlib

import polars as pl
import pytest

from store.errors import BadForeignLog
from store.foreign_log import Place, digest_of, rows_of

CSV = "who,arm,won\nu1,a,TRUE\nu2,b,\n"


@pytest.fixture
def file(tmp_path):
    def written(content, name="log.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def cells(path, *columns):
    return [(row.place.line, dict(row.values)) for row in rows_of(path, set(columns))]


def test_text_is_handed_on_as_it_stands(file):
    assert cells(file(CSV), "who", "won") == [
        (2, {"who": "u1", "won": "TRUE"}),
        (3, {"who": "u2", "won": ""}),
    ]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("log.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("marked.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("windows.csv", CSV.replace("\n", "\r\n").encode()),
    ],
)
def test_packed_marked_and_from_windows_is_the_same(file, name, made):
    assert cells(file(made, name), "who", "arm", "won") == cells(file(CSV), "who", "arm", "won")


def test_lines_are_those_of_the_file(file):
    path = file('who,note\n"u\n1",x\n\nu2,"a, ""b"""\n')
    assert cells(path, "who", "note") == [
        (2, {"who": "u\n1", "note": "x"}),
        (5, {"who": "u2", "note": 'a, "b"'}),
    ]
    assert [row.place.number for row in rows_of(path, {"who"})] == [1, 2]


def test_parquet_keeps_its_types_and_has_rows(file, tmp_path):
    frame = pl.DataFrame({"who": [7, None], "won": [True, None], "pnl": [0.5, float("nan")]})
    frame.write_parquet(tmp_path / "log.parquet")
    one, two = rows_of(tmp_path / "log.parquet", {"who", "won"})
    assert (one.values, two.values) == ({"who": 7, "won": True}, {"who": None, "won": None})
    assert (one.place, str(two.place)) == (Place("log.parquet", 1), "log.parquet, row 2")


@pytest.mark.parametrize("row", ["u2,b", "u2,b,1,1"])
def test_a_row_of_another_width_says_so(file, row):
    faults = [found.fault for found in rows_of(file(f"who,arm,won\nu1,a,1\n{row}\nu3,a,1\n"), {"won"})]
    assert faults == [None, f"has {len(row.split(','))} cells where the header has 3", None]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("log.xlsx", CSV, "give a .csv, .csv.gz or .parquet file"),
        ("empty.csv", "", "is empty"),
        ("other.csv", "who,arm\nu1,a\n", "has no column won: map to one of who, arm"),
        ("twice.csv", "who,won,won\nu1,1,0\n", "has 2 columns won: rename"),
        ("latin.csv", CSV.encode() + b"\xe9,a,1\n", "write it as UTF-8"),
        ("quote.csv", CSV + '"u3"x,a,1\n', "at or after line 4"),
        ("open.csv", CSV + '"u3,a,1\n', "unexpected end of data"),
        ("cut.csv.gz", gzip.compress(CSV.encode() * 99, mtime=0)[:-20], "cannot be read as CSV"),
        ("no.csv.gz", CSV, "cannot be read as CSV"),
        ("no.parquet", CSV, "cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_says_why(file, name, content, said):
    with pytest.raises(BadForeignLog, match=name) as caught:
        list(rows_of(file(content, name), {"who", "won"}))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(BadForeignLog, match="check its path"):
        rows_of(tmp_path / "log.csv", {"who"})


def test_the_digest_is_the_one_that_others_compute(file):
    assert digest_of(file(CSV)) == hashlib.sha256(CSV.encode()).hexdigest()
