"""The cold endpoints: experiments, splits, kills, reports, single decisions. Each is one call of the code below."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from router import change, kills, trace
from router.assignment import Split
from router.change import By
from router.definition import experiment_of
from router.problems import invalid
from router.report import build_report
from router.service import Service
from router.snapshot import first_split
from router.splits import split_shape
from store import experiments
from store.errors import UnknownExperiment
from store.records import Experiment

Actor = Annotated[str, Header(alias="X-Abctl-Actor", max_length=128)]


class SplitChange(BaseModel):
    """Either `arm` and `share`, or `restore`."""

    model_config = ConfigDict(extra="forbid")
    arm: str | None = None
    share: str | float | None = Field(default=None, description="A multiple of 0.000001, exact as text.")
    restore: int | None = Field(default=None, description="A version to reinstate verbatim.")
    reason: str = Field(default="", max_length=500)


class KillChange(BaseModel):
    """Kills an arm in this node, or lifts its kill."""

    model_config = ConfigDict(extra="forbid")
    arm: str
    state: Literal["killed", "lifted"]
    reason: str = Field(default="", max_length=500)


def json_response(value: object) -> Response:
    """JSON by msgspec, which knows our records."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def admin_routes(service: Service) -> APIRouter:
    """The routes of one worker."""
    routes = APIRouter(prefix="/v1")
    _experiments(routes, service)
    _splits(routes, service)
    _reports(routes, service)
    return routes


def _experiments(routes: APIRouter, service: Service) -> None:
    @routes.get("/experiments", tags=["experiments"])
    def list_experiments() -> Response:
        """All experiments."""
        with service.engine.connect() as connection:
            return json_response({"experiments": experiments.every(connection)})

    @routes.get("/experiments/{key}", tags=["experiments"])
    def get_experiment(key: str) -> Response:
        """One experiment."""
        return json_response(_experiment(service, key))

    @routes.put("/experiments/{key}", tags=["experiments"])
    def put_experiment(key: str, definition: dict[str, Any], x_abctl_actor: Actor = "http") -> Response:
        """Creates an experiment, or defines one anew that has no decisions yet."""
        experiment = experiment_of({**definition, "key": definition.get("key", key)}, service.clock())
        if experiment.key != key:
            raise invalid("key", f"the path says {key!r}, the body {experiment.key!r}: make them agree")
        experiments.create(service.engine, experiment, first_split(experiment, x_abctl_actor), x_abctl_actor)
        return json_response(_experiment(service, key))

    @routes.post("/experiments/{key}/archive", tags=["experiments"])
    def archive_experiment(key: str, x_abctl_actor: Actor = "http") -> Response:
        """Closes an experiment: it takes no new decisions."""
        experiments.archive(service.engine, key, service.clock(), x_abctl_actor)
        return json_response(_experiment(service, key))


def _experiment(service: Service, key: str) -> Experiment:
    with service.engine.connect() as connection:
        return experiments.get(connection, key)


def _splits(routes: APIRouter, service: Service) -> None:
    lead_us = round(service.config.split_lead_s * 1e6)

    @routes.get("/experiments/{key}/split", tags=["split"])
    def get_split(key: str) -> Response:
        """The newest version; it may not be in force yet, see effective_at."""
        return json_response(split_shape(change.history(service.engine, key)[-1]))

    @routes.get("/experiments/{key}/split/history", tags=["split"])
    def get_history(key: str) -> Response:
        """Every version, the first one first."""
        shapes = [split_shape(split) for split in change.history(service.engine, key)]
        return json_response({"splits": shapes})

    @routes.put("/experiments/{key}/split", tags=["split"])
    def put_split(key: str, body: SplitChange, x_abctl_actor: Actor = "http") -> Response:
        """Changes the split; 409 where somebody else did meanwhile."""
        return json_response(split_shape(_changed(key, body, By(x_abctl_actor, body.reason))))

    def _changed(key: str, body: SplitChange, by: By) -> Split:
        if body.restore is not None and body.arm is None and body.share is None:
            return change.restore(service.engine, key, body.restore, by, service.clock, lead_us)
        if body.restore is None and body.arm is not None and body.share is not None:
            return change.set_share(
                service.engine, key, body.arm, str(body.share), by, service.clock, lead_us
            )
        raise invalid("body", "needs either arm and share, or restore")

    @routes.put("/experiments/{key}/kill", tags=["split"])
    def put_kill(key: str, body: KillChange, x_abctl_actor: Actor = "http") -> Response:
        """Kills an arm on this node at once, or lifts its kill. Needs neither SQL nor Redis."""
        view = service.desk.snapshot.views.get(key)
        if view is None:
            raise UnknownExperiment(key)
        if body.arm not in view.experiment.arms:
            raise invalid(
                "arm", f"{body.arm!r} is not an arm of {key}: use one of {', '.join(view.experiment.arms)}"
            )
        root = service.config.data_dir.root
        if body.state == "killed":
            kill = kills.Kill(key, body.arm, service.clock(), x_abctl_actor, body.reason)
            return json_response({"kills": kills.add_kill(root, kill)})
        return json_response({"kills": kills.lift_kill(root, key, body.arm)})


def _reports(routes: APIRouter, service: Service) -> None:
    @routes.get("/experiments/{key}/report", tags=["report"])
    def get_report(key: str, days: Annotated[int, Query(ge=1, le=3650)] = 7) -> Response:
        """Which arm is better, from the experiment's start; `days` limits the descriptive window only."""
        return json_response(build_report(service.engine, key, days, service.clock()))

    @routes.get("/experiments/{key}/verdict", tags=["report"])
    def get_verdict(key: str) -> Response:
        """The report's verdict alone, for pollers."""
        report = build_report(service.engine, key, 7, service.clock())
        return json_response({**report["verdict"], "effect": report["effect"], "as_of": report["as_of"]})

    @routes.get("/decisions/{decision_id}", tags=["report"])
    def get_decision(decision_id: str, experiment: str | None = None) -> Response:
        """A decision as SQL holds it, with its outcomes and conflicts."""
        key = experiment or service.config.default_experiment
        return json_response(trace.decision(service.engine, key, decision_id))
