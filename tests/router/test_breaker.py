"""The breaker's laws, on random histories and a fake clock."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from router.breaker import Breaker, BreakerRule

RULE = BreakerRule(
    consecutive=3,
    failure_share=0.5,
    volume=10,
    interval_s=10,
    first_s=4,
    longest_s=30,
    jitter_share=0.5,
    probe_s=2,
)


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self):
        return self.now_s


@dataclass
class Bench:
    """A breaker, and what must follow from what happened to it."""

    chance: float = 0.0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self):
        self.breaker = Breaker(self.clock, lambda: self.chance, RULE)

    def eject(self):
        while self.breaker.state != "open":
            self.breaker.failed()


steps = st.lists(
    st.one_of(st.tuples(st.sampled_from(["ok", "bad", "ask"])), st.tuples(st.just("wait"), st.floats(0, 40))),
    max_size=120,
)


@given(steps, st.floats(0, 0.999))
def test_open_admits_nobody_and_half_open_one_probe_at_a_time(history, chance):
    bench = Bench(chance)
    opened_s = probed_s = None
    for what, *more in history:
        before, ejections = bench.breaker.state, bench.breaker.ejections
        if what == "wait":
            bench.clock.now_s += more[0]
        elif what == "ok":
            bench.breaker.succeeded()
        elif what == "bad":
            bench.breaker.failed()
        else:
            admitted = bench.breaker.admits()
            now_s = bench.clock.now_s
            if before == "closed":
                assert admitted
            elif before == "open":
                length_s = min(RULE.longest_s, RULE.first_s * 2 ** (ejections - 1)) * (
                    1 + RULE.jitter_share * chance
                )
                assert admitted == (now_s >= opened_s + length_s)
            else:
                assert admitted == (now_s >= probed_s + RULE.probe_s)
            probed_s = now_s if admitted and before != "closed" else probed_s
        if bench.breaker.state == "open" and before != "open":
            opened_s = bench.clock.now_s


@given(st.lists(st.booleans(), max_size=200))
def test_ejected_just_when_a_rule_says_so(answers):
    """Against a plain recount, within one interval."""
    bench = Bench()
    in_a_row = failed = 0
    for count, is_ok in enumerate(answers, 1):
        if is_ok:
            in_a_row = 0
            bench.breaker.succeeded()
        else:
            in_a_row, failed = in_a_row + 1, failed + 1
            bench.breaker.failed()
        is_worn = not is_ok and count >= RULE.volume and failed >= RULE.failure_share * count
        if in_a_row >= RULE.consecutive or is_worn:
            assert bench.breaker.state == "open"
            return
        assert bench.breaker.state == "closed"


def test_each_ejection_in_a_row_is_twice_as_long_up_to_the_longest():
    bench = Bench()
    lengths_s = []
    for _ in range(6):
        bench.eject()
        began_s = bench.clock.now_s
        while not bench.breaker.admits():
            bench.clock.now_s += 0.5
        lengths_s.append(bench.clock.now_s - began_s)
        bench.breaker.failed()  # the probe
    assert lengths_s == [4, 8, 16, 30, 30, 30]


def test_a_probe_that_is_answered_closes_and_healthy_intervals_are_forgiving():
    bench = Bench()
    bench.eject()
    bench.clock.now_s += 4
    assert bench.breaker.admits()
    assert not bench.breaker.admits()
    bench.breaker.succeeded()
    assert bench.breaker.state == "closed"
    assert bench.breaker.ejections == 1
    bench.clock.now_s += RULE.interval_s
    bench.breaker.succeeded()
    assert bench.breaker.ejections == 0


def test_what_ends_while_it_is_open_changes_nothing():
    bench = Bench()
    bench.eject()
    bench.breaker.succeeded(100)
    bench.breaker.failed()
    assert (bench.breaker.state, bench.breaker.ejections) == ("open", 1)
