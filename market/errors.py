"""What can be wrong with a market's data.

MarketError
|- RecordingError    a file of a recording or of an import breaks the format
|- TapeError         arrays that do not make one market episode
|- WorldError        a simulated world's settings contradict each other
`- SessionError      a step after the end, or an action that does not exist
"""


class MarketError(ValueError):
    """Names the field, the rule and the remedy in one sentence."""


class RecordingError(MarketError):
    pass


class TapeError(MarketError):
    pass


class WorldError(MarketError):
    pass


class SessionError(MarketError):
    pass
