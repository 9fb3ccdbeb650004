import pytest

from arms.errors import ArmUnknown
from arms.presets import PRESETS, preset_of


@pytest.mark.parametrize(
    ("name", "table"),
    [("default", (20, 4, 2, 64, 32)), ("large", (40, 8, 3, 128, 64)), ("fast", (10, 2, 1, 32, 16))],
)
def test_transformer_presets_are_the_guides_tables(name, table):
    p = preset_of("transformer", name)
    assert (p.window, p.heads, p.layers, p.hidden, p.output) == table
    assert p.dropout == 0.1


@pytest.mark.parametrize(
    ("name", "table"), [("default", (5, 64, 32)), ("large", (10, 128, 64)), ("fast", (3, 32, 16))]
)
def test_base_presets(name, table):
    p = preset_of("base", name)
    assert (p.window, p.hidden, p.output) == table


def test_an_unknown_preset_lists_the_known():
    assert len(PRESETS) == 6
    with pytest.raises(ArmUnknown, match="transformer/fast"):
        preset_of("base", "huge")
