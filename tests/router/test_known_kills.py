"""What one node knows of kills: its own, and the last word that any node told the audit."""

import pytest

from router.kills import Kill
from router.known_kills import killed_arms
from store.audit import record_change


def tell(engine, state, arm, at_us, experiment="main"):
    with engine.begin() as connection:
        detail = f'{{"arm":"{arm}","reason":""}}'
        record_change(connection, at_us, "ann", f"arm.{state}", experiment, detail)


def test_own_and_others_are_killed_until_somebody_lifts(migrated):
    own = (Kill("main", "base", 1, "ann", ""), Kill("other", "transformer", 1, "ann", ""))
    assert killed_arms(own, migrated, "main") == {"base"}
    tell(migrated, "killed", "transformer", 10)
    tell(migrated, "killed", "another", 10, experiment="other")
    assert killed_arms(own, migrated, "main") == {"base", "transformer"}
    tell(migrated, "lifted", "transformer", 11)
    tell(migrated, "lifted", "base", 11)
    assert killed_arms(own, migrated, "main") == {"base"}, "its own file is lifted by nobody else"


def test_a_note_that_comes_late_is_not_the_last_word(migrated):
    """Notes wait on each node's disk until SQL answers: their own time says which was last."""
    tell(migrated, "lifted", "transformer", 20)
    tell(migrated, "killed", "transformer", 10)
    assert killed_arms((), migrated, "main") == frozenset()


@pytest.mark.parametrize("way", ["http", "cli"])
def test_who_heard_of_another_node_s_kill_can_lift_it(start_node, way):
    """Here nothing is killed, so nothing changes here; but everybody is told."""
    node = start_node("lifting", arms=("base",))
    tell(node.engine, "killed", "transformer", 10)
    if way == "http":
        body = {"arm": "transformer", "state": "lifted", "reason": "mended"}
        assert node.ask("PUT", "/v1/experiments/main/kill", body).json["changed"] is False
    else:
        from cli.killing import lift_arm
        from cli.settings import read_settings

        settings = read_settings(data_dir=node.data_dir.root)
        lift_arm(settings, "transformer", "mended")
    node.wait(lambda: killed_arms((), node.engine, "main") == frozenset())
