"""The cold endpoints: experiments, splits, kills, reports, single decisions. Each is one call."""

import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt

from router import change, kills, trace
from router.body import check_json, content_type_in
from router.change import By
from router.definition import experiment_of
from router.errors import UnknownArm
from router.front import Actor, Caller, Storable, entitled
from router.instants import instant_us
from router.openapi import ERRORS, answers
from router.problems import invalid, shown
from router.question import Question, SliceBy
from router.report_aside import POLICY, page_aside
from router.service import Service
from router.snapshot import first_split
from router.splits import split_shape
from router.vacancy import warnings_of_arms
from store import experiments
from store.errors import UnknownExperiment
from store.records import Experiment, Fill

_LOG = logging.getLogger("abctl.router")
_DAYS = 7
_SHARE_CHARACTERS = 40


def _share(value: object) -> object:
    """One rule for both types, so that a refusal names the field and not a type of a union."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or is_number or (isinstance(value, str) and len(value) <= _SHARE_CHARACTERS):
        return value
    raise ValueError(f"must be a number, or at most {_SHARE_CHARACTERS} characters of text: write 10% as 0.1")


def needs_json(request: Request) -> None:
    """For a POST without a body, which any web page could otherwise send; a PUT it cannot send unasked."""
    check_json(content_type_in(request.scope["headers"]))


Key = Annotated[str, Storable, Path(max_length=63, description="The experiment's key.")]
DecisionId = Annotated[str, Storable, Path(max_length=128)]
OptionalKey = Annotated[str | None, Query(max_length=63, pattern=r"^[a-z0-9_-]+$")]
Slice = Annotated[SliceBy | None, Query(description="Slices: described, never evidence.")]
Moment = Annotated[
    str | None,
    Query(
        max_length=40, description="RFC 3339: the report as it stood then; reads all decisions up to then."
    ),
]
Days = Annotated[int, Query(ge=1, le=3650, description="Of the descriptive window.")]


Form = Annotated[Literal["json", "html", "md"], Query(alias="format", description="How it is told.")]
_REPORTS = answers("Report")
_REPORTS[200]["content"] |= {kind: {"schema": {"type": "string"}} for kind in ("text/html", "text/markdown")}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query of a report says."""

    days: Days = _DAYS
    fill: Fill | None = None
    by: Slice = None
    as_of: Moment = None

    def question(self, key: str) -> Question:
        """The same, checked."""
        as_of_us = None if self.as_of is None else instant_us(self.as_of, "as_of")
        return Question(key=key, days=self.days, fill=self.fill, by=self.by, as_of_us=as_of_us)


class SplitChange(BaseModel):
    """Either `arm` and `share`, or `restore`."""

    model_config = ConfigDict(extra="forbid")
    arm: str | None = Field(default=None, max_length=64)
    share: Annotated[str | StrictFloat | None, BeforeValidator(_share)] = Field(
        default=None, description="A multiple of 0.000001, exact as text."
    )
    restore: StrictInt | None = Field(default=None, description="A version to reinstate verbatim.")
    reason: Annotated[str, Storable] = Field(default="", max_length=500)


class KillChange(BaseModel):
    """Kills an arm in this node, or lifts its kill."""

    model_config = ConfigDict(extra="forbid")
    arm: str = Field(max_length=64)
    state: Literal["killed", "lifted"]
    reason: Annotated[str, Storable] = Field(default="", max_length=500)


def json_response(value: object) -> Response:
    """JSON by msgspec, which knows our records."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def markdown_response(report: dict[str, Any]) -> Response:
    """Markdown as UTF-8."""
    from router.report_markdown import markdown

    return Response(markdown(report), media_type="text/markdown")


def admin_routes(service: Service) -> APIRouter:
    """The routes of one worker."""
    routes = APIRouter(prefix="/v1", responses=ERRORS, dependencies=[Depends(entitled)])
    _experiments(routes, service)
    _splits(routes, service)
    _kills(routes, service)
    _reports(routes, service)
    return routes


def _experiments(routes: APIRouter, service: Service) -> None:
    @routes.get("/experiments", tags=["experiments"], responses=answers("Experiments"))
    def list_experiments(caller: Caller) -> Response:
        """All experiments; of a key for one experiment, that one."""
        with service.engine.connect() as connection:
            found = experiments.every(connection)
        mine = [e for e in found if caller.experiment in {None, e.key}]
        return json_response({"experiments": mine})

    @routes.get("/experiments/{key}", tags=["experiments"], responses=answers("Experiment"))
    def get_experiment(key: Key) -> Response:
        """One experiment."""
        return json_response(_experiment(service, key))

    @routes.put("/experiments/{key}", tags=["experiments"], responses=answers("DefinedExperiment"))
    def put_experiment(key: Key, definition: dict[str, Any], actor: Actor) -> Response:
        """Creates an experiment, or defines one anew that has no decisions yet.

        `warnings` names arms that have no model.
        """
        experiment = experiment_of({**definition, "key": definition.get("key", key)}, service.clock())
        if experiment.key != key:
            raise invalid("key", f"the path says {key!r}, the body {experiment.key!r}: make them agree")
        split = first_split(experiment, actor)
        experiments.create(service.engine, experiment, split, actor, service.config.data_dir.journals)
        warnings = warnings_of_arms(service.engine, experiment, ())
        return json_response({**msgspec.to_builtins(_experiment(service, key)), "warnings": warnings})

    @routes.post(
        "/experiments/{key}/archive",
        tags=["experiments"],
        responses=answers("Experiment"),
        dependencies=[Depends(needs_json)],
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    def archive_experiment(key: Key, actor: Actor) -> Response:
        """Closes an experiment: it takes no new decisions; outcomes of its units are still taken."""
        experiments.archive(service.engine, key, service.clock(), actor)
        return json_response(_experiment(service, key))


def _experiment(service: Service, key: str) -> Experiment:
    with service.engine.connect() as connection:
        return experiments.get(connection, key)


def _splits(routes: APIRouter, service: Service) -> None:
    lead_us = round(service.config.split_lead_s * 1e6)

    @routes.get("/experiments/{key}/split", tags=["split"], responses=answers("Split"))
    def get_split(key: Key) -> Response:
        """The newest version; it may not be in force yet, see effective_at."""
        return json_response(split_shape(change.history(service.engine, key)[-1]))

    @routes.get("/experiments/{key}/split/history", tags=["split"], responses=answers("Splits"))
    def get_history(key: Key) -> Response:
        """Every version, the first one first."""
        shapes = [split_shape(split) for split in change.history(service.engine, key)]
        return json_response({"splits": shapes})

    @routes.put("/experiments/{key}/split", tags=["split"], responses=answers("ChangedSplit"))
    def put_split(key: Key, body: SplitChange, actor: Actor) -> Response:
        """Changes the split; 409 where somebody else did meanwhile, or the experiment is archived.

        `changed` is false where the arm had that share already. `warnings` names arms that get units and have
        no model.
        """
        made = _changed(key, body, By(actor, body.reason))
        return json_response(change.shape(service.engine, made))

    def _changed(key: str, body: SplitChange, by: By) -> change.Changed:
        if body.restore is not None and body.arm is None and body.share is None:
            return change.restore(service.engine, key, body.restore, by, service.clock, lead_us)
        if body.restore is None and body.arm is not None and body.share is not None:
            share = str(body.share)
            return change.set_share(service.engine, key, body.arm, share, by, service.clock, lead_us)
        raise invalid("body", "needs either arm and share, or restore")


def _kills(routes: APIRouter, service: Service) -> None:
    @routes.put("/experiments/{key}/kill", tags=["split"], responses=answers("Kills"))
    def put_kill(key: Key, body: KillChange, actor: Actor) -> Response:
        """Kills an arm on this node at once, or lifts its kill. Needs neither SQL nor Redis.

        `changed` is false where the arm was in that state already.
        """
        view = service.desk.snapshot.views.get(key)
        if view is None:
            raise UnknownExperiment(key)
        if body.arm not in view.experiment.arms:
            raise UnknownArm(shown(body.arm), list(view.experiment.arms))
        root = service.config.data_dir.root
        kill = kills.Kill(key, body.arm, service.clock(), actor, body.reason)
        made = kills.add_kill(root, kill) if body.state == "killed" else kills.lift_kill(root, key, body.arm)
        service.obey_kills()
        kills.note_change(service.config.data_dir, kill, body.state)  # a lift also for another node's kill
        _LOG.warning("arm %s of %s is %s by %s: %s", body.arm, key, body.state, actor, body.reason)
        return json_response({"kills": made.kills, "changed": made.is_new})


def _reports(routes: APIRouter, service: Service) -> None:
    @routes.get("/experiments/{key}/report", tags=["report"], responses=_REPORTS)
    def get_report(key: Key, asked: Annotated[Asked, Depends()], form: Form = "json") -> Response:
        """Which arm is better, from the experiment's start; `days` limits the descriptive window only."""
        report = _report(service, asked.question(key))
        if form == "html":
            content = page_aside(report, service.config.data_dir.root)
            headers = {"content-security-policy": POLICY}
            return Response(content, media_type="text/html", headers=headers)
        return markdown_response(report) if form == "md" else json_response(report)

    @routes.get("/decisions/{decision_id}", tags=["report"], responses=answers("Trace"))
    def get_decision(decision_id: DecisionId, caller: Caller, experiment: OptionalKey = None) -> Response:
        """A decision as SQL holds it, with its outcomes and conflicts."""
        key = experiment or service.config.default_experiment
        caller.check_experiment(key)
        return json_response(trace.decision(service.engine, key, decision_id))


def _report(service: Service, question: Question) -> dict[str, Any]:
    """scipy comes with the first report, not with every start of a worker."""
    from router.report import report_of

    return report_of(service.engine, question, service.clock())
