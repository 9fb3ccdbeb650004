"""A change of what is so already says that it is none."""


def test_a_share_that_an_arm_has_already_makes_no_version(node):
    path = "/v1/experiments/twice/split"
    node.create("twice")
    first = node.ask("PUT", path, {"arm": "transformer", "share": "0.1", "reason": "start small"}).json
    again = node.ask("PUT", path, {"arm": "transformer", "share": 0.1, "reason": "once more"}).json
    assert again == first | {"changed": False}
    assert len(node.ask("GET", f"{path}/history").json["splits"]) == 2


def test_a_kill_says_whether_it_is_one(node):
    path = "/v1/experiments/killed/kill"
    node.create("killed")
    states = ("lifted", "killed", "killed", "lifted", "lifted")
    changed = [node.ask("PUT", path, {"arm": "transformer", "state": s}).json["changed"] for s in states]
    assert changed == [False, True, False, True, False]
