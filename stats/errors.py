"""What can be wrong with the input. Data never raises: it gets a status.

StatsError (ValueError)
├── UnitsError    a column of units is missing, of the wrong length, type or range
└── DesignError   the design, the stages and the units do not fit together
"""


class StatsError(ValueError):
    """Bad input to stats; the message names the field, the rule and the remedy."""


class UnitsError(StatsError):
    """A column breaks its rule."""


class DesignError(StatsError):
    """Arms, stages or options contradict each other."""
