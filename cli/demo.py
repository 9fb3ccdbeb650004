"""`abctl demo`."""


def demo() -> None:
    """Demo."""
