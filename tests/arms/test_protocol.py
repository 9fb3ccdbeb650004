import sys

import pytest

from arms import onnx_runtime
from arms.errors import ArmUnknown
from arms.protocol import installed, loader_of


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Another distribution that offers the kind `coin`, installed as pip would."""
    info = tmp_path / "coin_arm-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coin-arm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[abctl.arms]\ncoin = coin_arm_module:load\n")
    (tmp_path / "coin_arm_module.py").write_text("def load(artefact, schema):\n    return 'a coin'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("coin_arm_module", None)


def test_built_in_kinds_need_no_entry_point():
    for kind in ("base", "transformer", "imported"):
        assert loader_of(kind) is onnx_runtime.load


def test_an_installed_arm_is_found_and_imported_only_when_asked_for(distribution):
    assert "coin" in installed()
    assert "coin_arm_module" not in sys.modules
    assert loader_of("coin")(None, None) == "a coin"


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(ArmUnknown, match="known: base, imported, transformer"):
        loader_of("oracle")
