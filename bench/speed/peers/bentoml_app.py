"""BentoML: one service with one worker and its adaptive batching.

python bentoml_app.py MODEL.onnx PORT
"""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml

sys.path.insert(0, str(Path(__file__).parent))
from stock import Stock


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 256})
class Decide:
    """The model beside its endpoint."""

    def __init__(self) -> None:
        self._model = Stock(os.environ["STOCK_MODEL"])

    @bentoml.api(route="/v1/decide")
    def decide(self, unit: str, history: list[list[float]], started_at: int, bot: str) -> dict[str, Any]:
        """One decision."""
        return self._model.answers([history])[0]


if __name__ == "__main__":
    os.environ["STOCK_MODEL"] = sys.argv[1]
    here = str(Path(__file__).parent)
    address = ["--host", "127.0.0.1", "--port", sys.argv[2]]
    command = ["bentoml", "serve", "bentoml_app:Decide", *address, "--working-dir", here]
    os.execv(Path(sys.executable).with_name("bentoml"), command)  # noqa: S606 - no shell is meant
