"""Units of which nothing special is to be said, settled within PostgreSQL: no row of theirs travels.

Plain is a unit in which every bot that reports has asked, none asked after the door closed or after somebody
had reported, all outcomes have one fill, and every market outcome says how many trades it counts, or moved
money. All its bots count then, and its totals are sums. Any other is left to `unit_outcomes`, which is the
law for both: `abctl db verify` and tests compare.
"""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, text

from store.unit_bots import Rule

_REPORT, _TRADE = "FILTER (WHERE kind = 'market')", "FILTER (WHERE kind = 'trade')"
# OFFSET 0 keeps PostgreSQL to the indexes whatever it believes of its tables (see store/lookup.py).
_SETTLE = text(f"""
UPDATE unit SET
    bots = said.bots, reported = said.reported, trades = said.trades, market_trades = said.market_trades,
    trade_wins = CASE WHEN :by_word THEN said.said_won ELSE said.wins END,
    pnl_micro = said.pnl_micro, fee_micro = said.fee_micro, stake_micro = said.stake_micro,
    won = said.won, fill = said.fill, settled_at_us = said.settled_at_us
FROM (
    SELECT asked.value AS unit, o.*, b.*
    FROM json_array_elements_text(CAST(:asked AS json)) AS asked(value)
    CROSS JOIN LATERAL (
        SELECT
            count(*) {_REPORT} AS reported,
            count(*) {_TRADE} AS trades,
            count(*) FILTER (WHERE kind = 'trade' AND pnl_micro > 0) AS wins,
            count(*) FILTER (WHERE kind = 'trade' AND won) AS said_won,
            coalesce(sum(coalesce(trades, 1)) {_REPORT}, 0) AS market_trades,
            coalesce(sum(pnl_micro) {_REPORT}, 0) AS pnl_micro,
            coalesce(sum(fee_micro) {_REPORT}, 0) AS fee_micro,
            coalesce(sum(stake_micro) {_REPORT}, 0) AS stake_micro,
            bool_and(won) {_REPORT} AS won,
            min(fill) {_REPORT} AS fill,
            max(received_at_us) {_REPORT} AS settled_at_us,
            min(received_at_us) {_REPORT} AS first_report_us,
            min(fill) AS least_fill,
            max(fill) AS greatest_fill,
            bool_or(trades IS NULL AND stake_micro <= 0 AND pnl_micro = 0 AND fee_micro = 0) {_REPORT}
                AS is_silent,
            count(*) AS spoken,
            array_agg(bot) AS speakers
        FROM outcome WHERE experiment = :experiment AND unit = asked.value OFFSET 0
    ) AS o
    CROSS JOIN LATERAL (
        SELECT count(*) AS bots, max(first_at_us) AS last_us, array_agg(bot) AS names
        FROM unitbot WHERE experiment = :experiment AND unit = asked.value OFFSET 0
    ) AS b
) AS said
WHERE unit.experiment = :experiment AND unit.unit = said.unit
    AND said.bots > 0
    AND CASE  -- both are lists, compared each with each
        WHEN said.spoken * said.bots <= 100000 THEN coalesce(said.speakers <@ said.names, true) ELSE false
    END
    AND said.least_fill IS NOT DISTINCT FROM said.greatest_fill
    AND said.is_silent IS NOT TRUE
    AND (said.first_report_us IS NULL OR said.last_us <= said.first_report_us)
    AND (CAST(:span_us AS bigint) IS NULL OR said.last_us <= unit.started_at_us + :span_us)
RETURNING unit.unit
""")  # noqa: S608 - put together from constants


def settle(connection: Connection, experiment: str, units: Collection[str], rule: Rule) -> set[str]:
    """Sets the outcome columns of the plain ones among these units; returns the others. PostgreSQL only."""
    asked = msgspec.json.encode(sorted(units)).decode()
    facts = {"experiment": experiment, "asked": asked, **rule._asdict()}
    return set(units) - set(connection.execute(_SETTLE, facts).scalars())
