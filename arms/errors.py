"""Everything the arms can refuse, one flat tree.

ArmError
|-- HistoryError     a history breaks the state schema: shape, finiteness or range
|-- EpisodeError     training data is malformed or too little
|-- TrainingError    training cannot go on, e.g. the loss is no longer finite
|-- ArtefactError    an artefact folder or ONNX file is incomplete, altered or does not fit
|-- ShadowError      a state schema tells of the own position what a shadow arm cannot rewrite
|-- ArmUnknown       no installed arm has that kind
`-- ActError         a loaded arm answered something that is no probability
"""


class ArmError(Exception):
    """Root of the tree; its message is one sentence with the remedy."""


class HistoryError(ArmError, ValueError):
    """The caller sent states that the schema does not allow."""


class EpisodeError(ArmError, ValueError):
    """Training data is malformed or too little."""


class TrainingError(ArmError, RuntimeError):
    """Training stopped because going on could only do harm."""


class ArtefactError(ArmError, ValueError):
    """An artefact must not be served."""


class ShadowError(ArmError, ValueError):
    """A shadow arm cannot live on states of this schema."""


class ArmUnknown(ArmError, LookupError):
    """No installed arm has that kind."""


class ActError(ArmError, RuntimeError):
    """An arm's answer is unusable; the caller falls back to the incumbent."""
