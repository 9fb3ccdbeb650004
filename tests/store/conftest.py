"""Records to store, migrated databases on both engines, and the totals derived anew in plain SQL."""

import subprocess
import sys
import uuid
from types import SimpleNamespace

import msgspec
import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlmodel import SQLModel

from store import schema
from store.ingest import Shipment, marks_of
from store.journal import frame_bytes
from store.records import Decision, Experiment, MarketOutcome, Split, TradeOutcome, Unserved
from store.sql import open_engine

ENCODE = msgspec.msgpack.Encoder().encode

DERIVED = """
WITH asked AS (
    SELECT decision_id, unit, bot, arm, served_arm, reason, split_version, weights, forced, eligible,
        split_stale, received_at_us, started_at_us, sent_started_at_us, journal_id, position, latency_us,
        1 AS answered, 0 AS refused
    FROM decision WHERE experiment = :experiment
    UNION ALL
    SELECT NULL, unit, bot, arm, NULL, CASE WHEN killed THEN 'killed' ELSE reason END, split_version,
        weights, forced, eligible, split_stale, received_at_us, started_at_us, sent_started_at_us, journal_id,
        position, NULL, 0, 1
    FROM unserved WHERE experiment = :experiment
), ranked AS (
    SELECT a.*, ROW_NUMBER() OVER (PARTITION BY unit ORDER BY received_at_us, journal_id, position) AS place
    FROM asked a
), first AS (SELECT * FROM ranked WHERE place = 1
), seats AS (
    SELECT d.unit, d.bot, MIN(d.received_at_us) AS first_at_us,
        MIN(f.started_at_us) + CAST(:span AS BIGINT) AS closes_us,
        MIN(CASE WHEN o.fill = 'replay' THEN o.received_at_us END) AS replayed_at_us
    FROM ranked d JOIN first f ON f.unit = d.unit LEFT JOIN outcome o ON o.experiment = :experiment
        AND o.kind = 'market' AND o.unit = d.unit AND o.bot = d.bot
    GROUP BY d.unit, d.bot
), doors AS (
    SELECT s.*, ROW_NUMBER() OVER (PARTITION BY unit ORDER BY first_at_us, bot) AS seat FROM seats s
), shut AS (
    SELECT d.unit, MIN(d.seat) AS seat FROM doors d WHERE d.seat > 1 AND (d.first_at_us > d.closes_us
        OR NOT EXISTS (SELECT 1 FROM doors e WHERE e.unit = d.unit AND e.seat < d.seat
            AND (e.replayed_at_us IS NULL OR e.replayed_at_us >= d.first_at_us)))
    GROUP BY d.unit
), counted AS (
    SELECT d.unit, d.bot FROM doors d LEFT JOIN shut s ON s.unit = d.unit
    WHERE s.seat IS NULL OR d.seat < s.seat
), reports AS (
    SELECT o.* FROM outcome o JOIN counted c ON c.unit = o.unit AND c.bot = o.bot
    WHERE o.experiment = :experiment AND o.kind = 'market'
), fills AS (
    SELECT unit, CASE COUNT(DISTINCT fill) WHEN 1 THEN MIN(fill) ELSE 'mixed' END AS fill
    FROM reports GROUP BY unit
), trade_rows AS (
    SELECT d.unit, d.bot, o.fill, o.pnl_micro FROM outcome o JOIN ranked d ON d.decision_id = o.decision_id
    WHERE o.experiment = :experiment AND o.kind = 'trade'
), counted_trades AS (
    SELECT t.* FROM trade_rows t LEFT JOIN fills u ON u.unit = t.unit
    WHERE (u.fill IS NULL OR u.fill IN ('mixed', t.fill))
        AND EXISTS (SELECT 1 FROM counted c WHERE c.unit = t.unit AND c.bot = t.bot)
)
SELECT f.unit, f.arm, f.split_version, f.weights, f.started_at_us,
    f.received_at_us AS first_at_us, f.journal_id AS first_journal_id, f.position AS first_position,
    CASE WHEN NOT f.eligible THEN 'ineligible' WHEN NOT f.forced THEN NULL
         WHEN f.reason = 'killed' THEN 'killed' ELSE 'forced' END AS excluded,
    (SELECT SUM(answered) FROM ranked d WHERE d.unit = f.unit) AS decisions,
    (SELECT SUM(refused) FROM ranked d WHERE d.unit = f.unit) AS unserved,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.arm <> f.arm) > 0 AS contaminated,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.sent_started_at_us <> f.started_at_us)
        AS start_conflicts,
    (SELECT MAX(received_at_us) FROM ranked d WHERE d.unit = f.unit) AS last_at_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.served_arm <> d.arm AND NOT d.forced)
        AS fallbacks,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.split_stale AND d.answered = 1) AS stale,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 0 AND d.latency_us <= 500)
        AS latency_to_500_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 500 AND d.latency_us <= 1000)
        AS latency_to_1000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 1000 AND d.latency_us <= 2000)
        AS latency_to_2000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 2000 AND d.latency_us <= 5000)
        AS latency_to_5000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 5000 AND d.latency_us <= 10000)
        AS latency_to_10000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 10000 AND d.latency_us <= 25000)
        AS latency_to_25000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 25000 AND d.latency_us <= 50000)
        AS latency_to_50000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 50000 AND d.latency_us <= 100000)
        AS latency_to_100000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 100000 AND d.latency_us <= 500000)
        AS latency_to_500000_us,
    (SELECT COUNT(*) FROM ranked d WHERE d.unit = f.unit AND d.latency_us > 500000) AS latency_over_500000_us,
    (SELECT COUNT(*) FROM counted d WHERE d.unit = f.unit) AS bots,
    (SELECT COUNT(*) FROM reports o WHERE o.unit = f.unit) AS reported,
    (SELECT COUNT(*) FROM counted_trades t WHERE t.unit = f.unit) AS trades,
    (SELECT COUNT(*) FROM counted_trades t WHERE t.unit = f.unit AND t.pnl_micro > 0) AS trade_wins,
    COALESCE((SELECT SUM(CASE WHEN o.trades IS NOT NULL THEN o.trades
        WHEN o.stake_micro > 0 OR o.fee_micro <> 0 OR o.pnl_micro <> 0 THEN 1
        WHEN EXISTS (SELECT 1 FROM trade_rows t WHERE t.unit = o.unit AND t.bot = o.bot AND t.fill = o.fill)
        THEN 1 ELSE 0 END) FROM reports o WHERE o.unit = f.unit), 0) AS market_trades,
    COALESCE((SELECT SUM(pnl_micro) FROM reports o WHERE o.unit = f.unit), 0) AS pnl_micro,
    COALESCE((SELECT SUM(fee_micro) FROM reports o WHERE o.unit = f.unit), 0) AS fee_micro,
    COALESCE((SELECT SUM(stake_micro) FROM reports o WHERE o.unit = f.unit), 0) AS stake_micro,
    (SELECT MIN(CASE WHEN won THEN 1 ELSE 0 END) FROM reports o WHERE o.unit = f.unit AND o.won IS NOT NULL)
        AS won,
    (SELECT fill FROM fills o WHERE o.unit = f.unit) AS fill,
    (SELECT MAX(received_at_us) FROM reports o WHERE o.unit = f.unit) AS settled_at_us
FROM first f ORDER BY f.unit
"""


def decision(experiment="main", decision_id="d1", unit="u1", **changed):
    facts = {
        "bot": "b1",
        "arm": "base",
        "served_arm": "base",
        "reason": "assigned",
        "binding": "started_at",
        "split_version": 1,
        "weights": {"base": 0.9, "transformer": 0.1},
        "forced": False,
        "eligible": True,
        "split_stale": False,
        "received_at_us": 1_000,
        "started_at_us": 500,
        "sent_started_at_us": 500,
        "as_of_us": None,
        "action": "hold",
        "probs": (0.8, 0.1, 0.1),
        "value": 0.1 + 0.2,
        "model": "m1",
        "schema": "s1",
        "state": b"\x00\x01\xff",
        "history_digest": b"12345678",
        "history_used": 20,
        "latency_us": 700,
    }
    return Decision(experiment=experiment, decision_id=decision_id, unit=unit, **(facts | changed))


def unserved(experiment="main", unit="u1", **changed):
    """A refused decision that differs from `decision` in being refused, and in nothing else."""
    facts = {
        "bot": "b1",
        "arm": "base",
        "reason": "overloaded",
        "split_version": 1,
        "weights": {"base": 0.9, "transformer": 0.1},
        "forced": False,
        "eligible": True,
        "split_stale": False,
        "received_at_us": 1_000,
        "started_at_us": 500,
        "sent_started_at_us": 500,
    }
    return Unserved(experiment=experiment, unit=unit, **(facts | changed))


def trade(experiment="main", decision_id="d1", **changed):
    facts = {
        "pnl_micro": 250_000,
        "fee_micro": 1_000,
        "stake_micro": 500_000,
        "entry_price": 0.1,
        "exit_price": None,
        "side": "up",
        "fill": "paper",
        "won": None,
        "closed_at_us": 2_000,
        "received_at_us": 2_000,
    }
    return TradeOutcome(experiment=experiment, decision_id=decision_id, **(facts | changed))


def market(experiment="main", unit="u1", bot="b1", **changed):
    facts = {
        "pnl_micro": 240_000,
        "fee_micro": 1_000,
        "stake_micro": 500_000,
        "trades": 1,
        "won": None,
        "fill": "paper",
        "closed_at_us": 3_000,
        "received_at_us": 3_000,
    }
    return MarketOutcome(experiment=experiment, unit=unit, bot=bot, **(facts | changed))


def framed(records):
    return b"".join(frame_bytes(ENCODE(record)) for record in records)


def shipment(journal_id, records, start=0):
    return Shipment(journal_id, start, framed(records))


def experiment_and_split(key="main"):
    experiment = Experiment(
        key=key, arms=("base", "transformer"), control="base", salt="s", gate_salt="g", created_at_us=1
    )
    return experiment, split(key, 1, 0)


def split(key, version, treated):
    ranges = (("base", 0, 1_000_000 - treated), ("transformer", 1_000_000 - treated, 1_000_000))
    return Split(
        experiment=key,
        version=version,
        salt="s",
        ranges=tuple(r for r in ranges if r[1] < r[2]),
        effective_at_us=version,
        created_at_us=version,
        actor="me",
        reason="test",
    )


def rows(engine, query, **values):
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query), values).mappings()]


def marks(engine):
    def read(journals):
        with engine.connect() as connection:
            return marks_of(connection, journals)

    return read


def totals_are_derived(engine, experiment):
    """The law of unit totals, in plain SQL over decision and outcome rows."""
    definition = rows(engine, "SELECT definition FROM experiment WHERE key = :e", e=experiment)
    known = [msgspec.json.decode(row["definition"], type=Experiment) for row in definition]
    span_us = (known[0].unit_duration_s + known[0].attribution_s) * 1_000_000 if known else None
    derived = rows(engine, DERIVED, experiment=experiment, span=span_us)
    names = ", ".join(derived[0]) if derived else "unit"
    held = rows(engine, f"SELECT {names} FROM unit WHERE experiment = :e ORDER BY unit", e=experiment)
    assert [dict(row) for row in held] == [plain(row) for row in derived]
    return derived


def plain(row):
    """SUM(bigint) is a Decimal on PostgreSQL; equal numbers are equal."""
    return {
        name: value if isinstance(value, str) or value is None else int(value) for name, value in row.items()
    }


def python(script, *arguments, **options):
    """A process of its own, as real as the ones that die in production."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options
    )


@pytest.fixture
def make():
    return SimpleNamespace(
        decision=decision,
        unserved=unserved,
        trade=trade,
        market=market,
        framed=framed,
        shipment=shipment,
        encode=ENCODE,
        split=split,
        experiment_and_split=experiment_and_split,
        rows=rows,
        marks=marks,
        totals_are_derived=totals_are_derived,
        python=python,
        key=lambda: f"e{uuid.uuid4().hex[:12]}",
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_sql_url(request, tmp_path):
    """A database of either engine without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return request.getfixturevalue("fresh_postgres_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request, tmp_path):
    """A migrated database of either engine without a row."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'abctl.db'}"
        _upgrade(url)
        return url
    url = request.getfixturevalue("migrated_postgres_url")
    engine = open_engine(url)
    with engine.begin() as connection:
        names = ", ".join(f'"{name}"' for name in SQLModel.metadata.tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres_url):
    """A database of its own for this folder: making one for every test would take most of the time."""
    name = f"abctl_store_{uuid.uuid4().hex[:12]}"
    plain = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        _upgrade(url)
        try:
            yield url
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _upgrade(url):
    engine = open_engine(url)
    schema.upgrade(engine)
    engine.dispose()


@pytest.fixture
def engine(sql_url):
    engine = open_engine(sql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'only.db'}")
    schema.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["valkey", "redis"])
def server_url(request):
    """Either server of the Redis protocol. Keys hold redis_token, for the Redis may be shared."""
    return request.getfixturevalue(f"{request.param}_url")
