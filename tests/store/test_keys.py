"""One experiment, one slot: Redis Cluster can hold everything of it."""

import inspect

import pytest
from redis.crc import key_slot

from store import keys

EXPERIMENTS = ["main", "a", "日本語", "with:colon", "x" * 200]
OTHERS = ["unit", "u}{1", "{other}", "", "btc-updown-15m-1767225600"]


def every_key(experiment, other):
    functions = [f for _, f in inspect.getmembers(keys, inspect.isfunction)]
    assert len(functions) >= 3
    for function in functions:
        more = len(inspect.signature(function).parameters) - 1
        yield function(experiment, *[other] * more)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_all_keys_of_an_experiment_share_a_slot(experiment):
    slots = {key_slot(key.encode()) for other in OTHERS for key in every_key(experiment, other)}
    assert slots == {key_slot(experiment.encode())}


def test_no_two_keys_are_the_same():
    found = [key for e in EXPERIMENTS for key in every_key(e, "unit")]
    assert len(found) == len(set(found))
