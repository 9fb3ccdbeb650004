"""The model registry: content by hash, names with their history."""

import pytest

from store import models
from store.errors import UnknownModel
from store.models import AliasChange, ModelEntry

CONTENT = {"model.onnx": b"\x00\x01onnx", "config.json": b"{}"}


def entry(name, at_us=1):
    return ModelEntry(name, "base", "{}", at_us, "me")


def change(model_id, at_us=1, alias="champion"):
    return AliasChange("base", alias, model_id, at_us, "me", "because")


class TestRegistry:
    def test_a_model_is_stored_once(self, engine):
        assert models.register(engine, entry("abc1"), CONTENT)
        assert not models.register(engine, entry("abc1"), CONTENT)
        with engine.connect() as connection:
            assert models.listed(connection) == [entry("abc1")]

    def test_it_is_found_by_a_prefix_that_fits_one(self, engine):
        models.register(engine, entry("abc1"), CONTENT)
        models.register(engine, entry("abd2", 2), CONTENT)
        with engine.connect() as connection:
            assert models.find(connection, "abd") == entry("abd2", 2)
            assert [found.id for found in models.listed(connection)] == ["abd2", "abc1"]
            for unclear in ("ab", "", "zzz"):
                with pytest.raises(UnknownModel, match="model list"):
                    models.find(connection, unclear)

    def test_an_alias_keeps_its_history(self, engine):
        for name in ("abc1", "abd2"):
            models.register(engine, entry(name), CONTENT)
        models.set_alias(engine, change("abc1"))
        models.set_alias(engine, change("abd", 2))
        models.set_alias(engine, change("abc1", 3, "challenger"))
        with engine.connect() as connection:
            assert [c.model_id for c in models.alias_history(connection)] == ["abc1", "abd2", "abc1"]
            assert models.champions(connection) == {"base": "abd2"}
        with pytest.raises(UnknownModel):
            models.set_alias(engine, change("never"))

    def test_its_files_come_back_once(self, engine, tmp_path):
        models.register(engine, entry("abc1"), CONTENT)
        folder = models.materialise(engine, "abc1", tmp_path)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
        assert models.materialise(engine, "abc1", tmp_path) == folder
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["abc1"]
        with pytest.raises(UnknownModel):
            models.materialise(engine, "never", tmp_path)

    @pytest.mark.parametrize("model_id", ["../x", "/etc", "..", "", "a/b", "ABC", "a\x00"])
    def test_no_id_leads_out_of_the_folder(self, engine, tmp_path, model_id):
        """Whoever wrote it to SQL."""
        (tmp_path / "x").mkdir()
        with pytest.raises(UnknownModel):
            models.materialise(engine, model_id, tmp_path / "models")
