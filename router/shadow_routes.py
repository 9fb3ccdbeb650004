"""The cold endpoints of shadow arms: what is shadowed, and changing it."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from router import shadowing
from router.admin import Key, json_response
from router.change import By
from router.front import Actor, Storable, entitled
from router.openapi import ERRORS, answers
from router.service import Service
from router.shadowing import FEE_RATE, MARGIN_USD, STAKE_USD, Wanted


class ShadowChange(BaseModel):
    """What is to be shadowed; `arm` null: nothing any more."""

    model_config = ConfigDict(extra="forbid")
    arm: str | None = Field(max_length=64)
    required: bool = Field(default=False, description="Refuse decisions that carry no quote.")
    stake_usd: float = Field(default=STAKE_USD, description="Notional of a paper order.")
    fee_rate: float = Field(default=FEE_RATE, description="Of the taker fee, where a quote tells none.")
    margin_usd: float = Field(default=MARGIN_USD, description="How far live may lie from paper, a unit.")
    reason: Annotated[str, Storable] = Field(default="", max_length=500)


def shadow_routes(service: Service) -> APIRouter:
    """The routes of one worker."""
    routes = APIRouter(prefix="/v1", responses=ERRORS, dependencies=[Depends(entitled)])

    @routes.get("/experiments/{key}/shadow", tags=["split"], responses=answers("Shadow"))
    def get_shadow(key: Key) -> Response:
        """Which arm is shadowed; null where none is."""
        return json_response(shadowing.told(service.engine, key, shadowing.current(service.engine, key)))

    @routes.put("/experiments/{key}/shadow", tags=["split"], responses=answers("Shadow"))
    def put_shadow(key: Key, body: ShadowChange, actor: Actor) -> Response:
        """Shadows an arm on every decision that carries a quote, or none any more.

        Units that are under way when it begins or changes are void: their lives are not whole.
        """
        wanted = Wanted(body.arm, body.required, body.stake_usd, body.fee_rate, body.margin_usd)
        by = By(actor, body.reason)
        return json_response(
            shadowing.told(
                service.engine, key, shadowing.change(service.engine, key, wanted, by, service.clock)
            )
        )

    return routes
