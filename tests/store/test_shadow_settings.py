"""What is shadowed is append-only and audited; of many writers one gets the number. On both engines."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import msgspec
import pytest

from store import audit, experiments, shadow_settings
from store.errors import ShadowMoved
from store.records import ShadowSetting


@pytest.fixture
def key(engine, make):
    experiment, split = make.experiment_and_split(make.key())
    experiments.create(engine, experiment, split, "me")
    return experiment.key


def setting(key, number, arm="b"):
    return ShadowSetting(
        experiment=key,
        number=number,
        arm=arm,
        is_required=True,
        stake_micro=25_000_000,
        fee_ppm=70_000,
        margin_micro=500_000,
        since_us=1_000 + number,
        actor="ann",
        reason="see first",
    )


def test_settings_come_back_as_they_were_written(engine, key):
    on, off = setting(key, 1), setting(key, 2, arm=None)
    for each in (on, off):
        assert shadow_settings.append(engine, key, each.number, lambda each=each: each) == each
    with engine.connect() as connection:
        assert shadow_settings.every(connection, key) == (on, off)
        assert shadow_settings.newest(connection, key) == off
        assert shadow_settings.in_force(connection)[key] == off
        told = audit.changes(connection, key, 2)
    assert [change["action"] for change in told] == ["shadow.off", "shadow.on"]
    assert msgspec.json.decode(told[1]["detail"], type=ShadowSetting) == on


def test_nothing_is_shadowed_at_first(engine, key):
    with engine.connect() as connection:
        assert shadow_settings.newest(connection, key) is None


def test_of_many_writers_one_gets_the_number(engine, key):
    ready = Barrier(4)

    def write(actor):
        ready.wait()
        made = msgspec.structs.replace(setting(key, 1), actor=actor)
        try:
            return shadow_settings.append(engine, key, 1, lambda: made)
        except ShadowMoved:
            return None

    with ThreadPoolExecutor(4) as pool:
        won = [made for made in pool.map(write, "abcd") if made is not None]
    assert len(won) == 1
    with engine.connect() as connection:
        assert shadow_settings.every(connection, key) == tuple(won)


def test_a_gap_is_refused(engine, key):
    with pytest.raises(ShadowMoved, match="split show"):
        shadow_settings.append(engine, key, 2, lambda: setting(key, 2))


def test_an_experiment_that_is_defined_anew_shadows_nothing(engine, key, make):
    shadow_settings.append(engine, key, 1, lambda: setting(key, 1))
    experiments.create(engine, *make.experiment_and_split(key), "me")
    with engine.connect() as connection:
        assert shadow_settings.every(connection, key) == ()
