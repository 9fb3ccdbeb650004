"""Options that every command of a group takes, written once: which experiment, where it is, how to print."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from cli.options import DataDirOption, ExperimentOption, JsonOption, UrlOption

if TYPE_CHECKING:
    from cli.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """--experiment, --data-dir, --url and --json, as given."""

    experiment: ExperimentOption
    data_dir: DataDirOption
    url: UrlOption
    as_json: JsonOption

    def settings(self) -> "Settings":
        """All settings, those options among them."""
        from cli.settings import read_settings

        return read_settings(experiment=self.experiment, data_dir=self.data_dir, url=self.url)


def with_asked(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options after its own; it gets them as its first argument."""

    def run(**given: Any) -> None:
        asked = Asked(**{field.name: given.pop(field.name) for field in fields(Asked)})
        command(asked, **given)

    own = list(inspect.signature(command).parameters.values())[1:]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *_OPTIONS])  # type: ignore[attr-defined]
    return run


_OPTIONS = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=option, default=default)
    for name, option, default in (
        ("experiment", ExperimentOption, None),
        ("data_dir", DataDirOption, None),
        ("url", UrlOption, None),
        ("as_json", JsonOption, False),
    )
]
