"""What happens to a service, told on stdout: a sentence for people, or a line of JSON for programs."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """name: ready, not_ready, restarting, restarted, restart_abandoned, stopping, stopped. said: in words."""

    name: str
    said: str
    facts: Mapping[str, object] = field(default_factory=dict)


Tell = Callable[[Event], None]


def tell_people(event: Event) -> None:
    """The sentence."""
    _put(event.said)


def tell_programs(event: Event) -> None:
    """One JSON object in one line: `event`, then its facts."""
    _put(json.dumps({"event": event.name, **event.facts}))


def _put(line: str) -> None:
    """A line on stdout. A reader or a terminal that has gone is no reason to end a service."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
