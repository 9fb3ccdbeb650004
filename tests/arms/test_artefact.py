import msgspec
import pytest

from arms.artefact import (
    CONFIG,
    MAX_FILE_BYTES,
    ONNX,
    WEIGHTS,
    Config,
    Golden,
    Trained,
    read_artefact,
    write_artefact,
)
from arms.errors import ArtefactError

CONFIG_OK = Config(
    arm="base", kind="base", preset="fast", window=3, schema="s", schema_hash="0" * 16,
    trained=Trained(seed=7, metrics={"b": 2.0, "a": 1.0}),
)  # fmt: skip
GOLDEN_OK = Golden(history=[[[0.0]]], length=[1], probs=[[1.0, 0.0, 0.0]], value=[0.0])


@pytest.fixture
def folder(tmp_path):
    write_artefact(tmp_path / "m", CONFIG_OK, GOLDEN_OK, b"graph", b"weights")
    return tmp_path / "m"


def test_what_is_written_is_read_back(folder):
    artefact = read_artefact(folder)
    assert (artefact.arm, artefact.kind, artefact.preset, artefact.window) == ("base", "base", "fast", 3)
    assert (artefact.onnx, artefact.weights, artefact.golden) == (b"graph", b"weights", GOLDEN_OK)
    assert artefact.trained.metrics == {"a": 1.0, "b": 2.0}
    assert len(artefact.id) == 32


def test_the_same_contents_have_the_same_id_and_any_byte_changes_it(folder, tmp_path):
    first = read_artefact(folder).id
    assert write_artefact(tmp_path / "again", CONFIG_OK, GOLDEN_OK, b"graph", b"weights").id == first
    changed = [
        write_artefact(tmp_path / "x", CONFIG_OK, GOLDEN_OK, b"graph!", b"weights"),
        write_artefact(tmp_path / "x", CONFIG_OK, GOLDEN_OK, b"graph", None),
        write_artefact(
            tmp_path / "x", msgspec.structs.replace(CONFIG_OK, arm="b"), GOLDEN_OK, b"graph", b"weights"
        ),
    ]
    assert len({first, *(artefact.id for artefact in changed)}) == 4


def test_writing_without_weights_removes_old_ones(folder):
    write_artefact(folder, CONFIG_OK, GOLDEN_OK, b"graph", None)
    assert not (folder / WEIGHTS).exists()


@pytest.mark.parametrize("name", ["golden.json", "config.json", "model.onnx"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=f"has no {name}"):
        read_artefact(folder)


def test_strangers_such_as_pickles_are_refused(folder):
    (folder / "model.pkl").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"holds model\.pkl"):
        read_artefact(folder)


def test_links_are_not_followed(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(tmp_path / "secret")
    with pytest.raises(ArtefactError, match="plain file"):
        read_artefact(folder)


def test_a_directory_in_place_of_a_file_is_refused(folder):
    (folder / ONNX).unlink()
    (folder / ONNX).mkdir()
    with pytest.raises(ArtefactError, match="plain file"):
        read_artefact(folder)


def test_too_large_a_file_is_refused_unread(folder):
    with (folder / ONNX).open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ArtefactError, match="at most"):
        read_artefact(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": "../up"}, "arm '../up' must be"),
        ({"window": 0}, r"window 0 must lie in 1\.\.64"),
        ({"format": 2}, "format 2 is not 1"),
        ({"surprise": 1}, "unknown field"),
        ({"window": "3"}, "window"),
    ],
)
def test_a_config_that_breaks_a_rule_is_refused(folder, change, said):
    config = msgspec.json.decode((folder / CONFIG).read_bytes()) | change
    (folder / CONFIG).write_bytes(msgspec.json.encode(config))
    with pytest.raises(ArtefactError, match=said):
        read_artefact(folder)


def test_no_folder_is_said_so(tmp_path):
    with pytest.raises(ArtefactError, match="is not a folder"):
        read_artefact(tmp_path / "nowhere")
