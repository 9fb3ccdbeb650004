"""Which worlds are looked at: the design's 20, one thing different at a time, effects, every mixture."""

from dataclasses import replace
from itertools import product

from trials.outcomes import Cell, Metric
from trials.world import Schedule, World

ICCS = (0.0, 0.05, 0.1, 0.2, 0.3)
METRICS: tuple[Metric, ...] = ("decisions", "units")
PUBLISHED = {
    (0.05, 0.02): (0.17, 37.8),
    (0.05, 0.04): (0.76, 29.2),
    (0.05, 0.06): (0.99, 19.9),
    (0.1, 0.04): (0.52, 32.8),
    (0.1, 0.06): (0.92, 23.7),
    (0.3, 0.04): (0.22, 36.4),
    (0.3, 0.06): (0.47, 32.5),
}
"""ICC and effect: power and mean days of the sequence in the design's own simulation, of decisions."""
DESIGN_POINT = (0.1, 0.04)
KNOWN = (0.13, 0.33, 0.65)
"""R^2 of about 0.1, 0.25 and 0.5 in a unit's score at ICC 0.1, where chance alone makes a quarter of it."""
TAILS = (2.1, 3.0, 5.0)
SCHEDULES: tuple[Schedule, ...] = ("10", "50", "ramp", "adaptive")
DRIFTS, PER_DAY, SHAPES = (0.0, 0.08), (40, 10), (1.0, 0.3)


def section_5() -> list[Cell]:
    """The 20 cells: ICC by drift, of decisions and of units."""
    return [
        Cell(f"{metric}, ICC {icc:g}, drift {100 * drift:g} pp", World(icc=icc, drift=drift), metric)
        for metric in METRICS
        for drift in (0.0, 0.08)
        for icc in ICCS
    ]


def variations() -> list[Cell]:
    """One thing at a time is different from ICC 0.1 under drift."""
    base = World()
    worlds = {
        "hourly looks": replace(base, looks=24, markets_per_day=48),
        "heavy sizes": replace(base, shape=0.3),
        "few clusters": replace(base, markets_per_day=10),
        "few clusters, heavy sizes": replace(base, markets_per_day=10, shape=0.3),
        "always 10%": replace(base, schedule="10"),
        "always 50%": replace(base, schedule="50"),
        "stages of equal length": replace(base, schedule="thirds"),
        "adaptive split": replace(base, schedule="adaptive"),
        "by market, markets differ for ever": replace(base, market_sd=0.06),
        "by market, windows share a shock": replace(base, window_sd=0.08),
        "by window": replace(base, window_sd=0.08, together=4),
    }
    mixed = [Cell(f"{metric}, {name}", worlds[name], metric) for name, metric in product(worlds, METRICS)]
    return mixed + [_money(base, tails) for tails in TAILS]


def _money(world: World, tails: float) -> Cell:
    return Cell(f"PnL, t with {tails:g} degrees of freedom", replace(world, tails=tails), "PnL")


def power() -> list[Cell]:
    """The design's table of power, of decisions and of units: ramp, drift 8 pp."""
    return [
        Cell(f"{metric}, ICC {icc:g}, {100 * effect:+g} pp", World(icc=icc, effect=effect), metric)
        for metric, (icc, effect) in product(METRICS, PUBLISHED)
    ]


def published(cell: Cell) -> tuple[float, float] | None:
    """(power, mean days) of the design's simulation in this world, if it has the cell."""
    world = cell.world
    return PUBLISHED.get((world.icc, world.effect)) if cell.metric == "decisions" else None


def margins() -> list[Cell]:
    """As much worse as a margin of 2 pp allows: who promotes it is wrong."""
    return [
        Cell(f"2 pp worse, ICC {icc:g}, {count} a day", world, margin=-world.effect)
        for icc, count in product((0.05, 0.1, 0.3), PER_DAY)
        for world in [World(icc=icc, markets_per_day=count, effect=-0.02)]
    ]


def forecasts() -> list[Cell]:
    """The design point, where something is known of each unit before its coin."""
    icc, effect = DESIGN_POINT
    return [
        Cell(f"{metric}, {100 * known:g}% known", World(icc=icc, effect=effect, known=known), metric)
        for metric, known in product(METRICS, KNOWN)
    ]


def forecasts_of_nothing() -> list[Cell]:
    """The same without a difference."""
    return [
        Cell(f"{cell.name}, no effect", replace(cell.world, effect=0.0), cell.metric) for cell in forecasts()
    ]


def every_mixture() -> list[list[Cell]]:
    """Rows of cells without an effect, a row the ICCs: metric, schedule, units a day, sizes, drift."""
    return [
        [_mixed(metric, World(icc=icc, drift=drift, schedule=split, markets_per_day=count, shape=shape))
         for icc in ICCS]
        for metric, split, count, shape, drift in product(METRICS, SCHEDULES, PER_DAY, SHAPES, DRIFTS)
    ]  # fmt: skip


def _mixed(metric: Metric, world: World) -> Cell:
    return Cell(f"{metric}, {words_of(world)}, ICC {world.icc:g}", world, metric)


def words_of(world: World) -> str:
    """What a row of the whole grid says of itself."""
    split = f"{world.schedule}%" if world.schedule in {"10", "50"} else world.schedule
    sizes = "heavy sizes" if world.shape < 1.0 else "usual sizes"
    return f"{split}, {world.markets_per_day} a day, {sizes}, drift {100 * world.drift:g} pp"


def every_tail() -> list[list[Cell]]:
    """Rows of money without an effect, a row the tails: schedule, units a day, drift."""
    return [
        [replace(cell, name=f"{cell.name}, {words_of(world)}") for cell in (_money(world, t) for t in TAILS)]
        for world in (
            World(drift=drift, schedule=split, markets_per_day=count)
            for split, count, drift in product(SCHEDULES, PER_DAY, DRIFTS)
        )
    ]
