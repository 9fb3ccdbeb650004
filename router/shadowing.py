"""Which arm is shadowed: checked, stored by compare-and-set, audited. Behind HTTP and CLI alike."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from arms.fills import MICRO
from router.change import By
from router.errors import ArchivedExperiment, BadShadow, UnknownArm
from router.splits import rfc3339
from router.vacancy import vacancies
from store import experiments, models, shadow_settings
from store.clock import Clock
from store.records import Experiment, ShadowSetting

STAKE_USD = 100.0
FEE_RATE = 0.07
MARGIN_USD = 1.0
STAKE_USD_MAX = 1e6


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be shadowed. arm None: nothing any more.

    is_required: a decision without a quote is refused. stake_usd: notional of a paper order. fee_rate: of the
    taker fee shares * rate * p * (1 - p), where a quote tells none. margin_usd: how far the mean of live
    minus paper may surely lie from 0, a unit.
    """

    arm: str | None
    is_required: bool = False
    stake_usd: float = STAKE_USD
    fee_rate: float = FEE_RATE
    margin_usd: float = MARGIN_USD


def wanted_of(fields: dict[str, Any]) -> Wanted:
    """From the fields of a change; those that are left out are as usual."""
    names = {"arm": "arm", "required": "is_required"} | {
        n: n for n in ("stake_usd", "fee_rate", "margin_usd")
    }
    return Wanted(**{own: fields[name] for name, own in names.items() if name in fields})


def checked(wanted: Wanted, experiment: Experiment) -> Wanted:
    """The same, or the rule that it breaks."""
    if experiment.archived_at_us is not None:
        raise ArchivedExperiment(experiment.key)
    if wanted.arm is not None and wanted.arm not in experiment.arms:
        raise UnknownArm(wanted.arm, list(experiment.arms))
    if not 1.0 <= wanted.stake_usd <= STAKE_USD_MAX:
        rule = f"must be from 1 to {STAKE_USD_MAX:,.0f}, not {wanted.stake_usd}"
        raise BadShadow("stake_usd", rule, "say what one order of your bots costs")
    if not 0.0 <= wanted.fee_rate <= 1.0:
        raise BadShadow("fee_rate", f"must be from 0 to 1, not {wanted.fee_rate}", "write 7% as 0.07")
    if not 0.0 < wanted.margin_usd <= STAKE_USD_MAX:
        rule = f"must be above 0 and at most {STAKE_USD_MAX:,.0f}, not {wanted.margin_usd}"
        raise BadShadow("margin_usd", rule, "say by how many USD a unit paper may miss live")
    return wanted


def change(engine: Engine, key: str, wanted: Wanted, by: By, clock: Clock) -> ShadowSetting:
    """Stores what is shadowed from now on. Saying again what holds makes no new setting."""
    with engine.connect() as connection:
        want = checked(wanted, experiments.get(connection, key))
        held = shadow_settings.newest(connection, key)
    if held is not None and _says(held, want):
        return held
    number = 1 if held is None else held.number + 1
    return shadow_settings.append(engine, key, number, lambda: _setting(key, number, want, by, clock()))


def current(engine: Engine, key: str) -> ShadowSetting | None:
    """What holds now; None where nothing was ever shadowed."""
    with engine.connect() as connection:
        experiments.get(connection, key)
        return shadow_settings.newest(connection, key)


def _says(held: ShadowSetting, wanted: Wanted) -> bool:
    if wanted.arm is None:
        return held.arm is None
    said = (held.arm, held.is_required, held.stake_micro, held.fee_ppm, held.margin_micro)
    return said == (wanted.arm, wanted.is_required, *_numbers(wanted))


def _numbers(wanted: Wanted) -> tuple[int, int, int]:
    """Stake in micro-USD, fee in millionths, margin in micro-USD."""
    return round(wanted.stake_usd * MICRO), round(wanted.fee_rate * MICRO), round(wanted.margin_usd * MICRO)


def _setting(key: str, number: int, wanted: Wanted, by: By, now_us: int) -> ShadowSetting:
    stake_micro, fee_ppm, margin_micro = _numbers(wanted)
    return ShadowSetting(
        experiment=key,
        number=number,
        arm=wanted.arm,
        is_required=wanted.is_required and wanted.arm is not None,
        stake_micro=stake_micro,
        fee_ppm=fee_ppm,
        margin_micro=margin_micro,
        since_us=now_us,
        actor=by.actor,
        reason=by.reason,
    )


def shape(setting: ShadowSetting | None) -> dict[str, Any] | None:
    """The JSON object `shadow` of the HTTP interface and of `--json`; None where nothing is shadowed."""
    if setting is None or setting.arm is None:
        return None
    return {
        "arm": setting.arm,
        "required": setting.is_required,
        "stake_usd": setting.stake_micro / MICRO,
        "fee_rate": setting.fee_ppm / MICRO,
        "margin_usd": setting.margin_micro / MICRO,
        "setting": setting.number,
        "since": rfc3339(setting.since_us),
        "actor": setting.actor,
        "reason": setting.reason,
    }


def told(engine: Engine, key: str, setting: ShadowSetting | None) -> dict[str, Any]:
    """The answer to a question or a change: `shadow`, and `warnings` of an arm that has no model."""
    with engine.connect() as connection:
        experiment = experiments.get(connection, key)
        champions = models.champions(connection)
    arm = None if setting is None else setting.arm
    empty = [str(v) for v in vacancies(experiment, {}, champions) if v.arm == arm]
    return {"experiment": key, "shadow": shape(setting), "warnings": empty}
