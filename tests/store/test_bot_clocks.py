"""A bot's clock may be wrong: what its outcomes count for hangs on when they arrived."""

import pytest

from store.ingest import ingest

DAY_US = 86_400_000_000
RECEIVED_US = 10 * DAY_US


@pytest.mark.parametrize("skew_us", [-DAY_US, -1, 1, DAY_US])
def test_totals_do_not_know_what_time_the_bot_thought_it_was(engine, make, skew_us):
    rows = {}
    for unit, off_us in (("right", 0), ("wrong", skew_us)):
        records = [
            make.decision(
                unit=unit, decision_id=unit, received_at_us=RECEIVED_US, as_of_us=RECEIVED_US + off_us
            ),
            make.trade(decision_id=unit, received_at_us=RECEIVED_US + 1, closed_at_us=RECEIVED_US + off_us),
            make.market(unit=unit, received_at_us=RECEIVED_US + 2, closed_at_us=RECEIVED_US + off_us),
        ]
        ingest(engine, "main", [make.shipment(unit, records)], RECEIVED_US)
        (row,) = make.rows(engine, "SELECT * FROM unit WHERE unit = :u", u=unit)
        rows[unit] = {name: value for name, value in row.items() if name not in {"unit", "first_journal_id"}}
    assert rows["wrong"] == rows["right"]
    assert rows["wrong"]["settled_at_us"] == RECEIVED_US + 2
    kept = make.rows(engine, "SELECT closed_at_us FROM outcome WHERE unit = 'wrong'")
    assert {row["closed_at_us"] for row in kept} == {RECEIVED_US + skew_us}


def test_the_first_of_two_outcomes_is_the_one_that_came_first(engine, make):
    """Not the one that claims an earlier close."""
    first = make.market(pnl_micro=1, received_at_us=RECEIVED_US, closed_at_us=RECEIVED_US + DAY_US)
    second = make.market(pnl_micro=2, received_at_us=RECEIVED_US + 1, closed_at_us=1)
    ingest(engine, "main", [make.shipment("a", [make.decision(), second]), make.shipment("b", [first])], 1)
    assert [row["pnl_micro"] for row in make.rows(engine, "SELECT pnl_micro FROM outcome")] == [1]
