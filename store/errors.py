"""What can go wrong in the store.

StoreError
|-- UnknownExperiment   no experiment of that key
|-- ExperimentInUse     an experiment that has decisions cannot be redefined
|-- SplitMoved          somebody changed the split first (compare-and-set lost)
|-- RolloutMoved        somebody wrote the rollout's next line first (compare-and-set lost)
|-- ShadowMoved         somebody changed the shadow arm first (compare-and-set lost)
|-- Overtaken           a step whose process leads no more
|-- StaleEvidence       a step whose evidence is too old to be carried out
|-- UnknownModel        no model of that id
|-- UnclearModel        the beginning of an id that is too short, or that several models share
|-- UnknownKey          no API key of that name
|-- KeyTaken            a name that an API key has or had
|-- BadKey              a name or scope that no API key can have
|-- UnknownDecision     SQL holds no decision of that id
|-- JournalFull         the journal's quota or the disk is used up: nothing more is accepted
|-- RecordTooLarge      a record is larger than a journal takes
|-- DataDirLocked       another process owns the data directory
|-- TargetExists        a file or directory that would have to be overwritten
|-- BadExport           an export's files are not those that were written
|-- BadForeignLog       a log of somebody else that cannot be imported as it is
|-- NotExported         decisions that would be pruned are in no export that was named
|-- BadMoment           a moment that no report can be of
|-- MomentPruned        a past moment whose decisions were removed
|-- StoreUnavailable    SQL or Redis did not answer
`-- SchemaTooNew        the database was migrated by a newer abctl
"""

from pathlib import Path


class StoreError(Exception):
    """Base of everything that the store raises on purpose."""


class UnknownExperiment(StoreError):
    """No experiment of that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no experiment {key!r}; `abctl experiment list` shows those that exist")


class ExperimentInUse(StoreError):
    """An experiment that has decisions cannot be redefined."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"experiment {key!r} already has decisions and cannot be redefined; create one with another key"
        )


class SplitMoved(StoreError):
    """Somebody changed the split first."""

    def __init__(self, key: str, expected_version: int) -> None:
        super().__init__(
            f"the split of {key!r} is no longer at version {expected_version}: somebody changed it first;"
            " look at `abctl split show` and try again"
        )


class ShadowMoved(StoreError):
    """Somebody changed what is shadowed first."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"somebody changed the shadow arm of {key!r} at the same moment: look at `abctl split show` and"
            " try again"
        )


class RolloutMoved(StoreError):
    """Somebody wrote the next line of the rollout first."""

    def __init__(self, key: str, seq: int) -> None:
        super().__init__(
            f"line {seq} of the rollouts of {key!r} is written already: somebody was first;"
            " look at `abctl rollout history` and try again"
        )


class Overtaken(StoreError):
    """Somebody else leads the rollout since: nothing was written."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the rollout of {key!r} is led by somebody else since this look began: nothing was done;"
            " look again"
        )


class StaleEvidence(StoreError):
    """A step whose evidence is too old by the time that it could be carried out."""

    def __init__(self, age_s: float, most_s: float) -> None:
        super().__init__(
            f"the evidence is {age_s:,.0f} s old, at most {most_s:,.0f} s may pass before a step is carried"
            " out: nothing was changed; look again"
        )


class UnknownModel(StoreError):
    """No model of that id."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"there is no model {model_id!r}; `abctl model list` shows those that exist")


class UnclearModel(StoreError):
    """The beginning of an id that is too short, or that several models share."""


class JournalFull(StoreError):
    """The journal cannot take more: nothing is accepted that could be lost."""


class RecordTooLarge(StoreError):
    """A record is larger than a journal takes."""


class DataDirLocked(StoreError):
    """Another process owns the data directory."""


class StoreUnavailable(StoreError):
    """SQL or Redis did not answer."""


class SchemaTooNew(StoreError):
    """The database was migrated by a newer abctl."""


class UnknownDecision(StoreError):
    """SQL holds no decision of that id."""

    def __init__(self, experiment: str, decision_id: str) -> None:
        super().__init__(
            f"SQL holds no decision {decision_id!r} of {experiment!r} (yet): an answered decision gets there"
            " within seconds; `abctl status` shows what is on its way"
        )


class UnknownKey(StoreError):
    """No API key of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no API key {name!r}; `abctl key list` shows those that exist")


class KeyTaken(StoreError):
    """A name that an API key has or had."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is or was an API key {name!r}: names are never used twice; choose another one"
        )


class BadKey(StoreError):
    """A name or scope that no API key can have."""


class TargetExists(StoreError):
    """A file or directory that would have to be overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists and is never overwritten; name another place")


class BadExport(StoreError):
    """An export's files are not those that were written."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} is not a whole export: {why}; run `abctl db export --parquet` again")


class BadForeignLog(StoreError):
    """A log of somebody else that cannot be imported as it is."""


class NotExported(StoreError):
    """Decisions that would be pruned are in no export that was named."""


class BadMoment(StoreError):
    """A moment that no report can be of: before the experiment, or yet to come. 422."""

    field = "as_of"


class MomentPruned(StoreError):
    """A past that cannot be told any more: the decisions that say it were removed."""
