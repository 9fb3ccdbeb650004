"""Arms without a model: a bot may carry them, everybody else is told."""

import pytest

from router.definition import experiment_of
from router.vacancy import vacancies, with_a_share

GHOSTLY = {"arms": ["base", "ghost"], "control": "base"}


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"base": 1.0}, "arm ghost has no model yet, and needs one before it gets a share: "),
        (
            {"base": 1 - 1e-6, "ghost": 1e-6},
            "arm ghost has 0.0001% of the units and no model, so the control",
        ),
        ({"base": 0.876544, "ghost": 0.123456}, "arm ghost has 12.3456% of the units and no model"),
        ({"ghost": 1.0}, "arm ghost has 100% of the units and no model"),
    ],
)
def test_a_vacancy_says_what_comes_of_it_and_the_remedy(weights, said):
    experiment = experiment_of({"key": "g", **GHOSTLY}, 0)
    (found,) = vacancies(experiment, weights, {"base": "0f3a"})
    assert str(found).startswith(said)
    assert "`abctl model import FILE --arm ghost`" in str(found)
    assert with_a_share((found,)) == ((found,) if "ghost" in weights else ())


def test_a_control_without_a_model_leaves_decisions_unanswered():
    experiment = experiment_of({"key": "g", **GHOSTLY}, 0)
    control, _ = vacancies(experiment, {"base": 1.0}, {})
    assert str(control).startswith("control arm base has no model, so nobody answers for it (no_answer)")


class TestThroughHttp:
    def warnings(self, node):
        return [said for said in node.ask("GET", "/readyz").json["warnings"] if "ghost" in said]

    def test_it_is_told_when_it_is_named_and_when_it_gets_units(self, node):
        made = node.ask("PUT", "/v1/experiments/haunted", GHOSTLY)
        assert made.status == 200
        assert made.json["warnings"][0].startswith("arm ghost has no model yet")
        assert self.warnings(node) == []
        path = "/v1/experiments/haunted/split"
        given = node.ask("PUT", path, {"arm": "ghost", "share": 0.5})
        assert given.status == 200
        assert given.json["changed"] is True
        (warned,) = given.json["warnings"]
        assert warned.startswith("arm ghost has 50% of the units and no model")
        node.wait(lambda: self.warnings(node) == [f"experiment haunted: {warned}"])
        assert node.ask("GET", "/readyz").status == 200
        lowered = node.ask("PUT", path, {"arm": "ghost", "share": 0}).json
        assert (lowered["warnings"], lowered["changed"]) == ([], True)
        node.wait(lambda: self.warnings(node) == [])

    def test_a_bot_that_carries_it_gets_it_and_a_bot_that_does_not_gets_the_control(self, node, question):
        node.create("carried", **GHOSTLY)
        node.set_share("1", arm="ghost", key="carried")
        assigned = node.post("/v1/assign", {"unit": "u", "experiment": "carried"})
        assert (assigned.status, assigned.json["served_arm"]) == (200, "ghost")
        decided = node.post("/v1/decide", question("u", experiment="carried")).json
        served = (decided["arm"], decided["served_arm"], decided["reason"])
        assert served == ("ghost", "base", "fallback:no_model")

    def test_an_archived_experiment_is_nobodys_concern(self, node):
        node.create("buried", **GHOSTLY)
        node.set_share("1", arm="ghost", key="buried")
        node.wait(lambda: any("buried" in said for said in self.warnings(node)))
        assert node.ask("POST", "/v1/experiments/buried/archive").status == 200
        node.wait(lambda: not any("buried" in said for said in self.warnings(node)))
