"""Decisions as VW reads them with `--dsjson --cb_explore_adf`: a JSON object a line.

The keys are those of VW's parse_example_json.cc: cost is minus the reward, `_label_Action` counts from 1 and
`_labelIndex` from 0 into `_multi`, `a` and `p` begin with the action that was taken. What VW does not know it
skips: `abctl` holds unit, bot, arm and model.
"""

import os
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from store.errors import TargetExists
from store.logged_actions import LoggedAction
from store.records import ACTIONS

_ENCODE = msgspec.json.Encoder().encode
_MICRO = 1_000_000
_MULTI = [{"a": {"action": name}} for name in ACTIONS]


def line_of(action: LoggedAction, names: Sequence[str]) -> bytes:
    """One line, without its end. Reward: net USD of the trade that the decision opened, 0 where it opened
    none. names: of the state's features.
    """
    taken = ACTIONS.index(action.action)
    order = [taken, *(i for i in range(len(ACTIONS)) if i != taken)]
    reward = (action.pnl_micro or 0) / _MICRO
    state = np.frombuffer(action.state, dtype="<f4").tolist()
    return _ENCODE(
        {
            "_label_cost": -reward if reward else 0.0,
            "_label_probability": action.possible[taken],
            "_label_Action": taken + 1,
            "_labelIndex": taken,
            "_skipLearn": False,
            "Timestamp": datetime.fromtimestamp(action.received_at_us / 1e6, UTC).strftime(
                "%Y-%m-%dT%H:%M:%S.%fZ"
            ),
            "Version": "1",
            "EventId": action.decision_id,
            "a": [i + 1 for i in order],
            "p": [action.possible[i] for i in order],
            "c": {"s": dict(zip(names, state, strict=True)), "_multi": _MULTI},
            "o": [{"v": reward, "EventId": action.decision_id, "ActionTaken": True}],
            "VWState": {"m": action.model},
            "abctl": {"unit": action.unit, "bot": action.bot, "served_arm": action.served_arm},
        }
    )


def write_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Writes a new file, whole or not at all, for its owner alone; returns their number. Never overwrites."""
    if path.exists():
        raise TargetExists(path)
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    count = 0
    try:
        with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(staging)
    except FileExistsError:
        raise TargetExists(path) from None
    finally:
        staging.unlink(missing_ok=True)
    return count
