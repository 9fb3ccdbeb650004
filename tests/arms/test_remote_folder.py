"""Folders at URLs of fsspec's own stores, in memory and on disk; S3 is tested where models are exported."""

import sys

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from arms.artefact import MAX_FILE_BYTES
from arms.errors import ArtefactError
from arms.remote_folder import FILES_MAX, fetched, is_url, put

FILES = {
    "README.md": b"read",
    "config.json": b"{}",
    "artefact/config.json": b"inner",
    "artefact/model.onnx": b"\x00" * 5000,
    "z.bin": b"",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"


@pytest.fixture
def memory():
    """fsspec's store in memory, emptied; it keeps files in the order in which they were written."""
    MemoryFileSystem.store.clear()
    yield MemoryFileSystem.store
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path, memory):
    return "memory://bots/model" if request.param == "memory" else f"file://{tmp_path}/bots/model"


def read(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_put_is_fetched(folder, url, tmp_path):
    put(folder, url)
    assert read(fetched(url, tmp_path / "back")) == FILES
    assert read(fetched(url + "/", tmp_path / "again")) == FILES
    assert read(fetched(url + "/artefact", tmp_path / "inner")) == {
        "config.json": b"inner",
        "model.onnx": b"\x00" * 5000,
    }


def test_nothing_is_overwritten(folder, url, tmp_path):
    put(folder / "artefact", url)
    with pytest.raises(ArtefactError, match=r"already holds config\.json: nothing is overwritten"):
        put(folder, url)
    assert set(read(fetched(url, tmp_path / "back"))) == {"config.json", "model.onnx"}


def test_a_neighbour_with_a_longer_name_is_another_folder(folder, url, tmp_path):
    put(folder, url + "-old")
    put(folder / "artefact", url)
    assert set(read(fetched(url, tmp_path / "back"))) == {"config.json", "model.onnx"}


def test_config_comes_last_and_the_outer_one_at_the_end(folder, memory):
    put(folder, "memory://order")
    assert list(memory) == [
        f"/order/{name}"
        for name in ("artefact/model.onnx", "README.md", "z.bin", "artefact/config.json", "config.json")
    ]


def test_an_interrupted_upload_leaves_nothing(folder, memory, monkeypatch):
    """Ctrl-C as the second file is written, by the store itself."""
    real, seen = MemoryFileSystem.pipe_file, []

    def pipe_file(store, path, value, **options):
        seen.append(path)
        real(store, path, value, **options)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    with pytest.raises(KeyboardInterrupt):
        put(folder, "memory://cut")
    assert len(seen) == 2
    assert memory == {}


def test_nothing_there_is_said(url, tmp_path):
    with pytest.raises(ArtefactError, match="holds no file"):
        fetched(url, tmp_path / "back")


def test_too_many_and_too_large_are_not_fetched(memory, tmp_path):
    store = MemoryFileSystem(skip_instance_cache=True)
    store.pipe_file("/large/model.onnx", bytes(MAX_FILE_BYTES + 1))
    with pytest.raises(ArtefactError, match=r"model\.onnx of memory://large has 67,108,865 bytes: at most"):
        fetched("memory://large", tmp_path / "back")
    for number in range(FILES_MAX + 1):
        store.pipe_file(f"/many/{number}", b"")
    with pytest.raises(ArtefactError, match="memory://many holds 65 files"):
        fetched("memory://many", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["../out", "a/../../out", "a/..", "/out", "a\\..\\out"])
def test_names_that_lead_out_of_the_folder_are_refused(memory, tmp_path, name):
    """As another program may have written them into a bucket."""
    MemoryFileSystem(skip_instance_cache=True).pipe_file("/seed", b"x")
    memory[f"/evil/{name}"] = memory.pop("/seed")
    with pytest.raises(ArtefactError, match="leads out of the folder"):
        fetched("memory://evil", tmp_path / "back")
    assert not list(tmp_path.rglob("*out*"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3:///prefix", "is no URL of a folder: write for example s3://bucket/prefix"),
        ("s3://", "is no URL of a folder"),
        ("file://relative", "is no URL of a folder"),
        ("nonsense://bucket/x", "nonsense://bucket/x cannot be used: Protocol not known: nonsense"),
        ("memory://", "is no URL of a folder"),
    ],
)
def test_urls_that_name_no_folder(folder, tmp_path, url, said):
    for use in (lambda: put(folder, url), lambda: fetched(url, tmp_path / "back")):
        with pytest.raises(ArtefactError, match=said):
            use()


@pytest.mark.parametrize(
    ("module", "url"), [("fsspec", "memory://a"), ("s3fs", "s3://bucket/a"), ("fsspec", "s3://bucket/a")]
)
def test_without_the_s3_extra_it_says_what_to_install(folder, monkeypatch, module, url):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ArtefactError, match=r"a URL needs the s3 extra: pip install 'abctl\[s3\]'"):
        put(folder, url)


def test_urls_are_told_from_paths():
    assert is_url("s3://bucket/prefix")
    assert not is_url("models/base")
    assert not is_url("C:\\models")
