"""What can go wrong in the router. Every error is one sentence: the field, the rule, the remedy.

RouterError
|-- BadShare       a share that is no multiple of 0.000001, is outside [0, 1] or cannot be had
|-- BadTable       ranges that do not cover the buckets exactly
|-- BadHistory     split versions that are not one gapless history
|-- BadSalt        a salt that two different coins could share
|-- BadUnit        a unit that cannot be stored, or whose id breaks its experiment's pattern
|-- BadPattern     a unit_pattern that cannot be used
|-- BadStartedAt   a started_at that cannot bind a unit
|-- BadKillFile    a KILL file that cannot be read
|-- ArchivedExperiment a split that is history
|-- BadShadow      a shadow setting that breaks a rule
|-- NoPast         a log that cannot say what a plan starts from
|-- BadPlan        a rollout's plan that breaks a rule
|-- BadWebhook     a webhook's address or secret that cannot be used
|-- NoRollout      a rollout that is not there, or over
|-- RolloutOpen    a rollout that is in the way
|-- UnknownArm     no arm of that name
`-- UnknownVersion no split version of that number
"""


class RouterError(Exception):
    """Base: `field` broke `rule`; `remedy` says what to do instead."""

    def __init__(self, field: str, rule: str, remedy: str) -> None:
        super().__init__(f"{field} {rule}: {remedy}")
        self.field = field
        self.rule = rule
        self.remedy = remedy


class BadShare(RouterError):
    """A share that is no multiple of 0.000001, is outside [0, 1] or cannot be had."""


class BadTable(RouterError):
    """Ranges that do not cover the buckets exactly."""


class BadHistory(RouterError):
    """Split versions that are not one gapless history."""


class BadSalt(RouterError):
    """A salt that two different coins could share."""


class BadUnit(RouterError):
    """A unit that cannot be stored, or whose id breaks its experiment's pattern."""


class BadPattern(RouterError):
    """A `unit_pattern` that cannot be used."""


class BadStartedAt(RouterError):
    """A `started_at` that cannot bind a unit."""


class BadKillFile(RouterError):
    """A KILL file that cannot be read: the kills that were in force stay in force."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            path, f"is not a list of kills ({why})", "mend or remove it, then kill the arm again"
        )


class ArchivedExperiment(RouterError):
    """The split of an archived experiment changes no more."""

    def __init__(self, key: str) -> None:
        rule = f"{key!r} is archived, so its split stays as it is"
        super().__init__("experiment", rule, "name an open one, see `abctl experiment list`")


class BadShadow(RouterError):
    """A shadow setting that breaks a rule."""


class NoPast(RouterError):
    """A log that cannot say what a plan starts from."""


class BadPlan(RouterError):
    """A rollout's plan that breaks a rule, or does not fit its experiment."""


class BadWebhook(RouterError):
    """A webhook's address or secret that cannot be used. What was given is never in the sentence."""


class NoRollout(RouterError):
    """A rollout that is not there, is over, or does not wait for what it is given."""


class RolloutOpen(RouterError):
    """A rollout that is in the way of another one, or of the step that is asked for."""


class NotABandit(RouterError):
    """An experiment that is judged, not played."""

    def __init__(self, key: str) -> None:
        rule = f"{key!r} wants a verdict, so nothing but its owner or a rollout moves its split"
        super().__init__("experiment", rule, 'create one with mode = "bandit": see docs/bandit.md')


class UnknownArm(RouterError):
    """No arm of that name."""

    def __init__(self, arm: str, known: "list[str]") -> None:
        super().__init__("arm", f"must be one of {', '.join(known)}, not {arm!r}", "name one of these")


class UnknownVersion(RouterError):
    """No split version of that number."""

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(
            "version", f"must be between 1 and {newest}, not {version}", "see `abctl split history`"
        )
