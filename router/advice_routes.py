"""The endpoints for those who move traffic themselves: Argo Rollouts reads one, Flagger asks the other."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from fastapi.responses import Response

from router.admin import Key, json_response, needs_json
from router.advice import Advice, Hook, goes_on, of_kill, of_report, of_rollout, rollout_shape
from router.errors import NoRollout
from router.front import entitled
from router.known_kills import killed_arms
from router.openapi import ERRORS, answers
from router.problems import Problem
from router.question import Question
from router.rollout_steps import Recorded, recorded
from router.rollout_watch import Watch, watch_of
from router.service import Service

Payload = Annotated[dict[str, Any], Body(description="What Flagger sends; nothing in it is heeded.")]
Newest = tuple[Recorded, Watch] | None


def advice_routes(service: Service) -> APIRouter:
    """The routes of one worker."""
    routes = APIRouter(prefix="/v1", responses=ERRORS, dependencies=[Depends(entitled)])

    @routes.get("/experiments/{key}/verdict", tags=["report"], responses=answers("Verdict"))
    def get_verdict(key: Key) -> Response:
        """The report's verdict, and `advice` for who moves traffic by it: promote, hold or rollback."""
        report, newest = _report(service, key), _newest(service, key)
        told = {"effect": report["effect"], "as_of": report["as_of"]}
        advice = _unless_killed(service, key, _advice(newest, report), report["treatment"])
        rollout = None if newest is None else rollout_shape(*newest)
        return json_response({**report["verdict"], **told, **_advice_shape(advice), "rollout": rollout})

    @routes.post(
        "/experiments/{key}/flagger/{hook}",
        tags=["report"],
        responses=answers("Advice"),
        dependencies=[Depends(needs_json)],
    )
    def ask_flagger(key: Key, hook: Hook, payload: Payload) -> Response:
        """Answers a webhook of Flagger: 200 is yes, 409 no. Changes nothing.

        `confirm-promotion`: yes if promote. `rollback`: yes if rollback. Any other: yes unless rollback.
        """
        newest = _newest(service, key)
        if newest is None:
            report = _report(service, key)
            advice, treatment = of_report(report), report["treatment"]
        else:
            advice, treatment = of_rollout(*newest), newest[0].rollout.treatment
        advice = _unless_killed(service, key, advice, treatment)
        if not goes_on(hook, advice.word):
            detail = f"{hook}: no, the advice is {advice.word}: {advice.reason}"
            raise Problem(409, "held", detail, "hook")
        return json_response(_advice_shape(advice))

    return routes


def _advice(newest: Newest, report: dict[str, Any]) -> Advice:
    return of_report(report) if newest is None else of_rollout(*newest)


def _advice_shape(advice: Advice) -> dict[str, str]:
    return {"advice": advice.word, "advice_reason": advice.reason}


def _unless_killed(service: Service, key: str, advice: Advice, treatment: str) -> Advice:
    killed = killed_arms(service.desk.kills, service.engine, key)
    return of_kill(treatment) if treatment in killed else advice


def _newest(service: Service, key: str) -> Newest:
    try:
        found = recorded(service.engine, key)
    except NoRollout:
        return None
    with service.engine.connect() as connection:
        return found, watch_of(connection, key, service.clock())


def _report(service: Service, key: str) -> dict[str, Any]:
    """scipy comes with the first report, not with every start of a worker."""
    from router.report import report_of

    return report_of(service.engine, Question(key=key), service.clock())
