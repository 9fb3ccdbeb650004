"""The service against its own OpenAPI, by thousands of generated requests, valid and not: no 5xx, no hang, no
status that is not told, and every answer as its schema says. Keys are on, so that refusals are seen too."""

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

TIMEOUT_S = 10.0
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CASES_MIN = 5000
RICH = {
    "POST /v1/decide": 700,
    "POST /v1/decide/batch": 500,
    "POST /v1/assign": 500,
    "POST /v1/outcomes": 700,
    "PUT /v1/experiments/{key}": 500,
    "PUT /v1/experiments/{key}/split": 500,
    "PUT /v1/experiments/{key}/shadow": 400,
    "PUT /v1/experiments/{key}/kill": 400,
    "POST /v1/experiments/{key}/archive": 200,
    "GET /v1/experiments/{key}": 200,
    "GET /v1/experiments/{key}/split": 200,
    "GET /v1/experiments/{key}/split/history": 150,
    "GET /v1/experiments/{key}/shadow": 150,
    "GET /v1/experiments/{key}/report": 200,
    "GET /v1/experiments/{key}/verdict": 100,
    "POST /v1/experiments/{key}/flagger/{hook}": 200,
    "GET /v1/decisions/{decision_id}": 300,
}
"""Operations by label, and how many requests each gets."""
PLAIN = ("GET /v1/experiments", "GET /healthz", "GET /readyz", "GET /metrics")
"""Operations that take nothing: a few requests are all there are."""
DECIDED = "known-to-sql"


def real_bodies(question):
    """For each operation a body that is taken: what is generated is seldom right in all of its fields."""
    outcome = {"kind": "market", "unit": "c", "pnl_usd": 1, "fill": "paper", "closed_at": 1_767_225_600_000}
    asked = question("contract")
    del asked["started_at"]
    return {
        "POST /v1/decide": asked,
        "POST /v1/decide/batch": {"decisions": [asked]},
        "POST /v1/assign": {"unit": "contract"},
        "POST /v1/outcomes": outcome,
        "PUT /v1/experiments/{key}": {"arms": ["base", "transformer"], "control": "base"},
        "PUT /v1/experiments/{key}/split": {"arm": "transformer", "share": 0.25},
        "PUT /v1/experiments/{key}/shadow": {"arm": "transformer", "reason": "a look"},
        "PUT /v1/experiments/{key}/kill": {"arm": "transformer", "state": "lifted"},
        "POST /v1/experiments/{key}/archive": {},
        "POST /v1/experiments/{key}/flagger/{hook}": {
            "name": "bot",
            "namespace": "x",
            "phase": "Progressing",
        },
    }


class Contract:
    """A service with keys, its document, and what has been asked so far."""

    def __init__(self, node, question):
        self.document = node.ask("GET", "/openapi.json").json
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.schema.config.update(base_url=f"http://127.0.0.1:{node.port}")
        self.operations = {result.ok().label: result.ok() for result in self.schema.get_all_operations()}
        self.real = real_bodies(question)
        admin, decide = (f"Bearer {node.give(scope, scope)}" for scope in ("admin", "decide"))
        self.keys = [admin] * 8 + [decide, "Bearer abctl_0", "Basic eDp5", None]
        self.session = requests.Session()

    def ask(self, label, data):
        """Asks one generated question and checks the answer; returns its status."""
        mode = data.draw(st.sampled_from(self._modes(label)))
        case = data.draw(self.operations[label].as_strategy(generation_mode=mode))
        self._ground(case, label, data)
        key = data.draw(st.sampled_from(self.keys))
        signed = {} if key is None else {"Authorization": key}
        answer = case.call(session=self.session, headers=signed, timeout=TIMEOUT_S)
        case.validate_response(answer, checks=CHECKS)
        return answer.status_code

    def _modes(self, label):
        both = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
        return both if label in RICH else both[:1]

    def _ground(self, case, label, data):
        """Makes some questions ask about what there is, in some of their parts."""
        if "{key}" in label and data.draw(st.booleans()):
            case.path_parameters["key"] = "archived" if "archive" in label else "contract"
        if "decision_id" in label and data.draw(st.integers(0, 3)) == 0:
            case.path_parameters["decision_id"] = DECIDED
        how = data.draw(st.sampled_from(["made up", "mixed", "real"])) if label in self.real else "made up"
        real = self.real.get(label, {})
        if how == "mixed" and isinstance(case.body, dict):
            case.body = {**case.body, **{k: v for k, v in real.items() if data.draw(st.booleans())}}
        elif how == "real":
            case.body, case.media_type = real, "application/json"


@pytest.fixture(scope="module")
def contract(tmp_path_factory, artefacts, valkey_url, question, tools):
    with tools.standing(tmp_path_factory.mktemp("contract"), artefacts, valkey_url) as node:
        for key in ("contract", "archived"):
            node.create(key)
        with node.carrying():
            node.decide("decided", decision_id=DECIDED)
        yield Contract(node, question)


def test_every_operation_is_asked_and_thousands_of_times_in_all(contract):
    assert set(contract.operations) == {*RICH, *PLAIN}
    assert sum(RICH.values()) >= CASES_MIN


@pytest.mark.parametrize("label", RICH)
def test_answers_are_as_the_document_says(contract, label):
    seen = []

    @settings(max_examples=RICH[label], suppress_health_check=list(HealthCheck))
    @given(st.data())
    def ask(data):
        seen.append(contract.ask(label, data))

    ask()
    assert len(seen) >= RICH[label]
    assert 200 in seen, "what is right was never asked"
    assert set(seen) & {400, 404, 415, 422}, "what is wrong was never asked"
    assert {401} <= set(seen)
    assert 403 in seen or label.startswith("POST /v1/decide") or label == "POST /v1/assign"


@pytest.mark.parametrize("label", PLAIN)
def test_answers_to_plain_questions_are_as_the_document_says(contract, label):
    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def ask(data):
        assert contract.ask(label, data) in {200, 401, 403}

    ask()
