"""The SQL tables. Times are int microseconds (UTC), money is int micro-USD, JSON is text.

Twins of the records are told apart by module: `tables.Decision` is the row of `records.Decision`.
"""

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

_BIG = BigInteger


class Experiment(SQLModel, table=True):
    """One experiment; `definition` is the JSON of records.Experiment."""

    key: str = Field(primary_key=True)
    definition: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=_BIG)
    archived_at_us: int | None = Field(default=None, sa_type=_BIG)


class Arm(SQLModel, table=True):
    """One arm of an experiment. runtime: "onnx" or the name of an `abctl.arms` entry point."""

    experiment: str = Field(primary_key=True)
    arm: str = Field(primary_key=True)
    position: int
    runtime: str = "onnx"


class Split(SQLModel, table=True):
    """One version of a split; the primary key is the compare-and-set."""

    experiment: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    salt: str
    ranges: str = Field(sa_type=Text)
    effective_at_us: int = Field(sa_type=_BIG)
    created_at_us: int = Field(sa_type=_BIG)
    actor: str
    reason: str
    restored_from: int | None = None


class Stage(SQLModel, table=True):
    """A span of constant shares: it opens with the split version that changed them."""

    experiment: str = Field(primary_key=True)
    split_version: int = Field(primary_key=True)
    weights: str = Field(sa_type=Text)
    started_at_us: int = Field(sa_type=_BIG)


class Model(SQLModel, table=True):
    """A registered artefact. `facts` is its config.json."""

    id: str = Field(primary_key=True)
    arm: str = Field(index=True)
    facts: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=_BIG)
    actor: str


class ModelFile(SQLModel, table=True):
    """The bytes of an artefact's files, so that every node can load it and a backup is whole."""

    model_id: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)


class Alias(SQLModel, table=True):
    """Append-only: which model an alias (`champion`, `challenger`) of an arm named from when on."""

    id: int | None = Field(default=None, primary_key=True)
    arm: str = Field(index=True)
    alias: str
    model_id: str
    at_us: int = Field(sa_type=_BIG)
    actor: str
    reason: str


class Decision(SQLModel, table=True):
    """One answered decision."""

    __table_args__ = (Index("ix_decision_unit", "experiment", "unit"),)

    experiment: str = Field(primary_key=True)
    decision_id: str = Field(primary_key=True)
    unit: str
    bot: str
    arm: str
    served_arm: str
    reason: str
    binding: str
    split_version: int
    weights: str = Field(sa_type=Text)
    forced: bool
    eligible: bool
    split_stale: bool
    received_at_us: int = Field(sa_type=_BIG)
    started_at_us: int = Field(sa_type=_BIG)
    sent_started_at_us: int | None = Field(default=None, sa_type=_BIG)
    as_of_us: int | None = Field(default=None, sa_type=_BIG)
    action: str
    prob_hold: float
    prob_buy: float
    prob_sell: float
    value: float
    action_propensity: float
    model: str
    schema_hash: str
    state: bytes = Field(sa_type=LargeBinary)
    history_digest: bytes = Field(sa_type=LargeBinary)
    history_used: int
    latency_us: int = Field(sa_type=_BIG)
    journal_id: str
    position: int = Field(sa_type=_BIG)


class Unserved(SQLModel, table=True):
    """One refused decision whose unit was bound, by its place in the journal: it has no id that is sure.

    reason: the code of the refusal. killed: the unit's arm was.
    """

    __table_args__ = (Index("ix_unserved_unit", "experiment", "unit"),)

    experiment: str = Field(primary_key=True)
    journal_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True, sa_type=_BIG)
    unit: str
    bot: str
    arm: str
    reason: str
    killed: bool
    split_version: int
    weights: str = Field(sa_type=Text)
    forced: bool
    eligible: bool
    split_stale: bool
    received_at_us: int = Field(sa_type=_BIG)
    started_at_us: int = Field(sa_type=_BIG)
    sent_started_at_us: int | None = Field(default=None, sa_type=_BIG)


class Outcome(SQLModel, table=True):
    """One outcome. kind "trade": key = decision_id; kind "market": key = unit and bot.

    `unit` of a trade is NULL while its decision has not arrived (parked).
    """

    __table_args__ = (Index("ix_outcome_unit", "experiment", "unit"),)

    experiment: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    unit: str | None = None
    bot: str | None = None
    decision_id: str | None = None
    pnl_micro: int = Field(sa_type=_BIG)
    fee_micro: int = Field(sa_type=_BIG)
    stake_micro: int = Field(sa_type=_BIG)
    entry_price: float | None = None
    exit_price: float | None = None
    side: str | None = None
    trades: int | None = None
    won: bool | None = None
    fill: str
    closed_at_us: int = Field(sa_type=_BIG)
    received_at_us: int = Field(sa_type=_BIG)
    meta: str = Field(sa_type=Text)
    winner: str | None = None
    journal_id: str
    position: int = Field(sa_type=_BIG)


class OutcomeConflict(SQLModel, table=True):
    """An outcome that contradicts an earlier one of the same key; kept for audit, never counted."""

    __table_args__ = (Index("ix_outcomeconflict_key", "experiment", "kind", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    experiment: str
    kind: str
    key: str
    payload: str = Field(sa_type=Text)
    received_at_us: int = Field(sa_type=_BIG)
    journal_id: str
    position: int = Field(sa_type=_BIG)


class Unit(SQLModel, table=True):
    """Totals of one unit. The arm and the exclusion are those of its first decision, answered or refused.

    excluded: NULL, or why the unit is out of the statistics ("forced", "killed", "ineligible").
    decisions, fallbacks, stale: of answered ones. unserved: refused ones that were journaled, one of each bot
    and worker; 0 where none was refused.
    latency_*: answered decisions by how long they took (store/latencies.py), where that is known.
    pruned_at_us: when its decision rows were removed; from then on decisions change nothing here.
    """

    experiment: str = Field(primary_key=True)
    unit: str = Field(primary_key=True)
    arm: str
    split_version: int
    weights: str = Field(sa_type=Text)
    excluded: str | None = None
    contaminated: bool = False
    started_at_us: int = Field(sa_type=_BIG)
    start_conflicts: int = 0
    first_at_us: int = Field(sa_type=_BIG)
    first_journal_id: str
    first_position: int = Field(sa_type=_BIG)
    last_at_us: int = Field(sa_type=_BIG)
    decisions: int = 0
    fallbacks: int = 0
    stale: int = 0
    unserved: int = 0
    latency_to_500_us: int = 0
    latency_to_1000_us: int = 0
    latency_to_2000_us: int = 0
    latency_to_5000_us: int = 0
    latency_to_10000_us: int = 0
    latency_to_25000_us: int = 0
    latency_to_50000_us: int = 0
    latency_to_100000_us: int = 0
    latency_to_500000_us: int = 0
    latency_over_500000_us: int = 0
    bots: int = 0
    reported: int = 0
    trades: int = 0
    trade_wins: int = 0
    market_trades: int = 0
    pnl_micro: int = Field(default=0, sa_type=_BIG)
    fee_micro: int = Field(default=0, sa_type=_BIG)
    stake_micro: int = Field(default=0, sa_type=_BIG)
    won: bool | None = None
    fill: str | None = None
    settled_at_us: int | None = Field(default=None, sa_type=_BIG)
    pruned_at_us: int | None = Field(default=None, sa_type=_BIG)


class UnitBot(SQLModel, table=True):
    """Which bots asked in a unit and since when, so that it is known when all that count have reported."""

    experiment: str = Field(primary_key=True)
    unit: str = Field(primary_key=True)
    bot: str = Field(primary_key=True)
    first_at_us: int = Field(default=0, sa_type=_BIG)


class JournalMark(SQLModel, table=True):
    """Everything of this journal before `position` (bytes) is in SQL."""

    journal_id: str = Field(primary_key=True)
    experiment: str
    position: int = Field(sa_type=_BIG)
    updated_at_us: int = Field(sa_type=_BIG)


class DeadLetter(SQLModel, table=True):
    """Bytes of a journal that could not be read or stored, kept so that nothing is lost in silence."""

    id: int | None = Field(default=None, primary_key=True)
    experiment: str
    journal_id: str
    position: int = Field(sa_type=_BIG)
    reason: str = Field(sa_type=Text)
    content: bytes = Field(sa_type=LargeBinary)
    at_us: int = Field(sa_type=_BIG)


class Audit(SQLModel, table=True):
    """Append-only: who changed what, when and why."""

    id: int | None = Field(default=None, primary_key=True)
    at_us: int = Field(sa_type=_BIG)
    actor: str
    action: str
    experiment: str | None = None
    detail: str = Field(sa_type=Text)


class Rollout(SQLModel, table=True):
    """One rollout of an experiment: its plan, which never changes. since_us: when the experiment began.

    base_version: the split without the treatment that a rollback restores.
    """

    experiment: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    treatment: str
    plan: str = Field(sa_type=Text)
    plan_digest: str
    base_version: int
    since_us: int = Field(sa_type=_BIG)


class RolloutEvent(SQLModel, table=True):
    """Append-only: what a rollout did, or found out. The primary key is the fence: of two who would both
    write the next line of an experiment's rollouts, one does.

    evidence: its canonical JSON where the line was decided on any; evidence_digest names it.
    """

    experiment: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    rollout: int
    at_us: int = Field(sa_type=_BIG)
    kind: str
    stage: int
    share: float
    split_version: int
    actor: str
    reason: str = Field(sa_type=Text)
    action: str
    cause: str
    evidence_digest: str
    evidence: str = Field(sa_type=Text)


class RolloutLook(SQLModel, table=True):
    """Who looked last at an experiment's rollout. at_us: when the look began; said: what it found.

    every_us: how often its looker means to look; 0 of a single look. said is empty while it looks.
    """

    experiment: str = Field(primary_key=True)
    at_us: int = Field(sa_type=_BIG)
    actor: str
    every_us: int = Field(sa_type=_BIG)
    said: str = Field(sa_type=Text)


class RolloutTelling(SQLModel, table=True):
    """How far the lines of an experiment's rollouts are told to the webhook. seq: the last one done with.

    tries, next_at_us, error: of the line after it. given_up: how many lines nobody took.
    """

    experiment: str = Field(primary_key=True)
    seq: int
    tries: int
    next_at_us: int = Field(sa_type=_BIG)
    given_up: int
    error: str = Field(sa_type=Text)


class ShadowSetting(SQLModel, table=True):
    """Append-only: which arm an experiment shadows from when on; NULL: none. See records.ShadowSetting."""

    experiment: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    arm: str | None = None
    is_required: bool
    stake_micro: int = Field(sa_type=_BIG)
    fee_ppm: int
    margin_micro: int = Field(sa_type=_BIG)
    since_us: int = Field(sa_type=_BIG)
    actor: str
    reason: str = Field(sa_type=Text)


class ShadowTick(SQLModel, table=True):
    """One tick of a paper life, by its place in the journal. See records.ShadowTick."""

    __table_args__ = (Index("ix_shadowtick_unit", "experiment", "unit"),)

    experiment: str = Field(primary_key=True)
    journal_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True, sa_type=_BIG)
    decision_id: str
    unit: str
    bot: str
    arm: str
    setting: int
    tick: int
    void: str
    at_us: int = Field(sa_type=_BIG)
    action: str
    served_action: str
    unfilled: int
    shadow_up_micro: int = Field(sa_type=_BIG)
    shadow_down_micro: int = Field(sa_type=_BIG)
    served_up_micro: int = Field(sa_type=_BIG)
    served_down_micro: int = Field(sa_type=_BIG)


class ShadowLife(SQLModel, table=True):
    """Totals of the paper life of one bot in one unit: a function of its ticks (store/shadow_lives.py).

    ticks: rows. Whole is a life whose ticks are 1 to last_tick once each: their sum says so. void: why it
    counts for nobody, or empty. The *_micro are the newest tick's.
    """

    experiment: str = Field(primary_key=True)
    unit: str = Field(primary_key=True)
    bot: str = Field(primary_key=True)
    arm: str
    setting: int
    ticks: int
    last_tick: int
    tick_sum: int = Field(sa_type=_BIG)
    void: str
    differed: int
    unfilled: int
    shadow_up_micro: int = Field(sa_type=_BIG)
    shadow_down_micro: int = Field(sa_type=_BIG)
    served_up_micro: int = Field(sa_type=_BIG)
    served_down_micro: int = Field(sa_type=_BIG)


class ApiKey(SQLModel, table=True):
    """One API key, of which only a keyed digest is kept. scopes: names parted by spaces."""

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    scopes: str
    experiment: str | None = None
    pepper: str
    digest: bytes = Field(sa_type=LargeBinary)
    created_at_us: int = Field(sa_type=_BIG)
    created_by: str
    revoked_at_us: int | None = Field(default=None, sa_type=_BIG)
    revoked_by: str | None = None
