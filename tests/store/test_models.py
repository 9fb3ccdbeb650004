"""The model registry: content by hash, names with their history."""

import pytest

from store import models
from store.errors import UnclearModel, UnknownModel
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

    def test_what_is_not_there_is_not_found(self, engine):
        models.register(engine, entry("abc1"), CONTENT)
        models.register(engine, entry("abd2", 2), CONTENT)
        with engine.connect() as connection:
            assert [found.id for found in models.listed(connection)] == ["abd2", "abc1"]
            for unknown in ("", "abcd", "zzzz", "base@champion", "@", "base@never"):
                with pytest.raises(UnknownModel, match="model list"):
                    models.find(connection, unknown)

    def test_a_beginning_is_long_enough_and_fits_one(self, engine):
        one, other, short = "abcd1" + "0" * 59, "abcd2" + "0" * 59, "abc"
        for name in (one, other, short):
            models.register(engine, entry(name), CONTENT)
        with engine.connect() as connection:
            for name, found in ((one, one), ("abcd2", other), (short, short)):
                assert models.find(connection, name).id == found
            for name in ("a", "ab", "zzz"):
                with pytest.raises(UnclearModel, match=f"'{name}' is too short: give at least 4 characters"):
                    models.find(connection, name)
            with pytest.raises(UnclearModel, match="2 models begin with 'abcd'") as refused:
                models.find(connection, "abcd")
        assert f"{one[:12]} (arm base), {other[:12]} (arm base); give more" in str(refused.value)

    def test_of_many_that_begin_alike_some_are_named_as_far_as_they_differ(self, engine):
        for last in range(8):
            models.register(engine, entry("0" * 20 + f"{last}" * 44), CONTENT)
        with engine.connect() as connection, pytest.raises(UnclearModel, match="and 3 more") as refused:
            models.find(connection, "0" * 20)
        assert f"{'0' * 20}4444 (arm base)" in str(refused.value)

    def test_an_alias_keeps_its_history(self, engine):
        for name in ("abc1", "abd2"):
            models.register(engine, entry(name), CONTENT)
        models.set_alias(engine, change("abc1"))
        models.set_alias(engine, change("abd2", 2))
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
