"""What a command needs before it starts."""

from importlib.util import find_spec

from cli.failures import Refused


def need_training() -> None:
    """Training needs torch, which serving does not."""
    if find_spec("torch") is None:
        raise Refused("training needs the train extra: pip install 'abctl[train]'")
