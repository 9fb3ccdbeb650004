"""What Argo Rollouts and Flagger make of our answers, by the files in deploy/ and a real service."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from router import change, rollout_steps
from router.advice import goes_on, of_report
from router.evidence import Bound
from router.kills import Kill, add_kill, lift_kill
from router.question import Question
from router.report import report_of
from router.rollout_evidence import failed
from router.rollout_steps import Hands
from router.rollout_watch import looked
from store.audit import record_change
from store.clock import wall_clock_us

DEPLOY = Path(__file__).parents[2] / "deploy"
ARGO = (DEPLOY / "argo-rollouts.yaml").read_text()
TEMPLATES = {each["metadata"]["name"]: each for each in yaml.safe_load_all(ARGO)}
CANARY = yaml.safe_load((DEPLOY / "flagger.yaml").read_text())
HOOKS = {hook["type"]: hook["url"] for hook in CANARY["spec"]["analysis"]["webhooks"]}
DAY_S = 86_400
MINUTE_US = 60_000_000
GOOD = Bound(status="ok", estimate=0.1, low=0.02, high=0.2, upper=0.2, planned_low=0.03)
BAD = Bound(status="ok", estimate=-0.2, low=-0.3, high=-0.05, upper=-0.05)
PLAN = """
version = 1
stages = [{share = 0.1, units_min = 10, days_min = 1, days_max = 20}]
primary = {metric = "win_rate", effect = 0.05}
money = {margin_usd = 0.02}
"""


class Clock:
    """Of who looks; the service's own is the wall's."""

    def __init__(self):
        self.ahead_us = 0

    def __call__(self):
        return wall_clock_us() + self.ahead_us


class Rolling:
    """A rollout on a node, and what others see of it."""

    def __init__(self, node, key):
        self.node, self.key, self.clock = node, key, Clock()
        self.hands = Hands(engine=node.engine, key=key, actor="loop", clock=self.clock, lead_us=0)

    def look(self, bound):
        def evidence(found, now_us):
            fields = {"stage_units": 10_000, "whole_days": 400, "day_block_low": 0.01, "stage_effects": 0}
            seen = failed(found, (), now_us, "")
            return msgspec.structs.replace(seen, primary=bound, money=bound, **fields)

        return looked(self.hands, evidence, MINUTE_US).verdict

    def look_broken(self):
        def evidence(found, now_us):
            return msgspec.structs.replace(failed(found, (), now_us, ""), broken="the coin is broken")

        return looked(self.hands, evidence, MINUTE_US).verdict

    def verdict(self):
        return self.node.ask("GET", f"/v1/experiments/{self.key}/verdict").json

    def flagger(self, hook):
        path = re.sub("^http://[^/]+", "", HOOKS[hook]).replace("/main/", f"/{self.key}/")
        return self.node.post(path, {"name": "bot", "namespace": "x", "phase": "Progressing"})

    def yes(self):
        """The hooks of the example that are answered with success."""
        return {hook for hook in HOOKS if self.flagger(hook).status == 200}


@pytest.fixture
def rolling(node, request):
    key = "r" + re.sub(r"\W", "", request.node.name.lower())[:50]
    node.create(key)
    return Rolling(node, key)


def at_path(document, path):
    """A JSONPath of names alone, in the braces that Argo wants."""
    for name in re.fullmatch(r"\{\$((?:\.\w+)+)\}", path)[1].split(".")[1:]:
        document = document[name]
    return document


def holds(condition, result):
    """A condition `result == "word"`."""
    return result == re.fullmatch(r'result == "(\w+)"', condition)[1]


def phase(metric, answer):
    """Of one measurement, as Argo's evaluate.EvaluateResult has it: one condition decides alone, of two a
    result that meets neither is inconclusive.
    """
    result = at_path(answer, metric["provider"]["web"]["jsonPath"])
    success, failure = metric.get("successCondition"), metric.get("failureCondition")
    if failure is not None and holds(failure, result):
        return "Failed"
    if success is None or holds(success, result):
        return "Successful"
    return "Failed" if failure is None else "Inconclusive"


def phases(answer):
    """Of both templates: promotion, harm."""
    (promotion,), (harm,) = (TEMPLATES[name]["spec"]["metrics"] for name in ("abctl-promotion", "abctl-harm"))
    return phase(promotion, answer), phase(harm, answer)


HOLDS = ("Inconclusive", "Successful")
PROMOTES = ("Successful", "Successful")
ROLLS_BACK = ("Failed", "Failed")


def test_without_a_rollout_and_without_data_all_wait(rolling):
    found = rolling.verdict()
    assert (found["advice"], found["rollout"], phases(found)) == ("hold", None, HOLDS)
    assert found["verdict"] == "cannot say yet"
    assert rolling.yes() == {"confirm-traffic-increase"}


def test_a_rollout_to_its_promotion_and_back(rolling):
    rollout_steps.start(rolling.hands, PLAN, "")
    assert phases(rolling.verdict()) == HOLDS  # nobody looked yet
    rolling.look(GOOD)
    found = rolling.verdict()
    assert (phases(found), found["advice_reason"]) == (HOLDS, "the first stage begins")
    assert (found["rollout"]["stage"], found["rollout"]["share"]) == (1, 0.1)
    rolling.clock.ahead_us = 2 * DAY_S * 10**6
    assert rolling.look(GOOD).action == "promote"
    found = rolling.verdict()
    assert (phases(found), found["advice"]) == (PROMOTES, "promote")
    assert rolling.yes() == {"confirm-traffic-increase", "confirm-promotion"}
    assert rolling.look(BAD).action == "rollback"
    assert phases(rolling.verdict()) == ROLLS_BACK
    assert rolling.yes() == {"rollback"}
    assert "advice is rollback" in rolling.flagger("confirm-promotion").json["detail"]


def test_an_old_word_is_not_passed_on(rolling):
    rolling.clock.ahead_us = -4 * MINUTE_US
    rollout_steps.start(rolling.hands, PLAN, "")
    rolling.look(GOOD)
    found = rolling.verdict()
    assert (found["advice"], "nobody looks" in found["advice_reason"]) == ("hold", True)
    assert found["rollout"]["looked_s_ago"] >= 240


def test_what_was_promoted_is_so_only_while_nothing_speaks_against_it(rolling):
    """Broken evidence, a look that fails, a hand that takes the arm out: each holds, and yes is no yes."""
    rollout_steps.start(rolling.hands, PLAN, "")
    rolling.look(GOOD)
    rolling.clock.ahead_us += round(2 * DAY_S * 1e6)
    assert rolling.look(GOOD).action == "promote"
    assert rolling.verdict()["advice"] == "promote"
    rolling.look_broken()
    assert rolling.verdict()["advice"] == "hold"
    assert "confirm-promotion" not in rolling.yes()
    rolling.look(GOOD)
    assert rolling.verdict()["advice"] == "promote"
    with pytest.raises(RuntimeError):
        looked(rolling.hands, _failing, MINUTE_US)
    assert rolling.verdict()["advice_reason"] == "could not look: no statistics today"
    rolling.look(GOOD)
    change.set_share(rolling.node.engine, rolling.key, "transformer", "0", BY, rolling.clock, 0)
    rolling.look(GOOD)
    rollout_steps.resume(rolling.hands, "as it is")
    rolling.look(GOOD)
    told = rolling.verdict()
    assert (told["advice"], told["rollout"]["promoted"], told["rollout"]["share"]) == ("hold", True, 0.0)


def test_a_kill_of_another_node_is_passed_on(rolling):
    rolling.node.wait(lambda: rolling.verdict()["advice"] == "hold")
    detail = '{"arm":"transformer","reason":""}'
    with rolling.node.engine.begin() as connection:
        record_change(connection, wall_clock_us(), "ann", "arm.killed", rolling.key, detail)
    assert rolling.verdict()["advice"] == "rollback"
    assert "rollback" in rolling.yes()


def _failing(found, now_us):
    raise RuntimeError("no statistics today")


BY = change.By("ann", "")


def test_paused_and_ended_by_hand_is_held(rolling):
    rollout_steps.start(rolling.hands, PLAN, "")
    rolling.look(GOOD)
    rollout_steps.pause(rolling.hands, "")
    assert rolling.verdict()["advice_reason"] == "the rollout is paused"
    rollout_steps.abort(rolling.hands, "", "base")
    found = rolling.verdict()
    assert (found["advice"], found["rollout"]["ended"]) == ("hold", "aborted")


def test_a_kill_is_passed_on_at_once(rolling):
    root = rolling.node.data_dir.root
    add_kill(root, Kill(rolling.key, "transformer", wall_clock_us(), "ana", ""))
    rolling.node.service.obey_kills()
    assert phases(rolling.verdict()) == ROLLS_BACK
    assert rolling.yes() == {"rollback"}
    lift_kill(root, rolling.key, "transformer")
    rolling.node.service.obey_kills()
    assert phases(rolling.verdict()) == HOLDS


@pytest.mark.parametrize(
    ("rollback", "may_promote", "word"),
    [
        ("no", "yes", "promote"),
        ("yes", "yes", "rollback"),
        ("yes", "no", "rollback"),
        ("no", "cannot say", "hold"),
        ("cannot say", "no", "hold"),
    ],
)
def test_the_gates_of_a_report_speak_where_there_is_no_rollout(rolling, rollback, may_promote, word):
    report = report_of(rolling.node.engine, Question(key=rolling.key), wall_clock_us())
    gates = {**report["gates"], "may_promote": may_promote}
    gates["rollback"] = {**gates["rollback"], "answer": rollback}
    assert of_report({**report, "gates": gates}).word == word


def test_what_flagger_asks_and_we_do_not_know_is_refused(node):
    node.refused("/v1/experiments/main/flagger/post-rollout", {}, 422)
    node.refused("/v1/experiments/none/flagger/rollback", {}, 404)
    assert node.refused("/v1/experiments/main/flagger/rollback", {}, 409)["field"] == "hook"


def test_only_a_rollback_is_ever_a_yes_to_rollback():
    words = ("promote", "hold", "rollback")
    assert [goes_on("rollback", word) for word in words] == [False, False, True]
    assert [goes_on("confirm-promotion", word) for word in words] == [True, False, False]
    for hook in ("confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase"):
        assert [goes_on(hook, word) for word in words] == [True, True, False]


def test_the_examples_ask_for_what_there_is(node):
    paths = node.ask("GET", "/openapi.json").json["paths"]
    hooks = paths["/v1/experiments/{key}/flagger/{hook}"]["post"]["parameters"]
    known = next(each["schema"]["enum"] for each in hooks if each["name"] == "hook")
    assert all(url.endswith(f"/v1/experiments/main/flagger/{hook}") for hook, url in HOOKS.items())
    assert set(HOOKS) <= set(known)
    for template in TEMPLATES.values():
        (metric,) = template["spec"]["metrics"]
        web = metric["provider"]["web"]
        assert re.sub(r"^http://abctl:8711|\{\{.*\}\}", "", web["url"]) == "/v1/experiments//verdict"
        assert web["headers"] == [{"key": "Authorization", "value": "Bearer {{ args.key }}"}]
