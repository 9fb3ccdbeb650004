"""What a command needs before it starts."""

from importlib.util import find_spec

from cli.failures import Refused

BACKENDS = ("torch", "mlx")


def need_training() -> None:
    """Training needs torch, which serving does not."""
    if find_spec("torch") is None:
        raise Refused("training needs the train extra: pip install 'abctl[train]'")


def need_backend(name: str) -> None:
    """What trains, and is there."""
    if name not in BACKENDS:
        raise Refused(f"--backend must be one of {', '.join(BACKENDS)}, not {name!r}")
    if find_spec(name) is None:
        raise Refused(f"{name} is not here: pip install 'abctl[train]', or give another --backend")
