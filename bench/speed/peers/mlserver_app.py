"""MLServer: a custom runtime in the HTTP process, with its adaptive batching off, which is its default.

python mlserver_app.py MODEL.onnx PORT
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

sys.path.insert(0, str(Path(__file__).parent))
from stock import WINDOW, Stock


class Decide(MLModel):
    """V2 inference protocol: one tensor [1, 20, 18] in, probs and value out."""

    async def load(self) -> bool:
        """Loads the model."""
        self._model = Stock(os.environ["STOCK_MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One decision."""
        flat = payload.inputs[0].data.root
        width = len(flat) // WINDOW
        answer = self._model.answers([[flat[i : i + width] for i in range(0, len(flat), width)]])[0]
        outputs = [
            ResponseOutput(name="probs", shape=[1, 3], datatype="FP32", data=answer["probs"]),
            ResponseOutput(name="value", shape=[1], datatype="FP32", data=[answer["value"]]),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def _settings(port: int) -> dict[str, dict[str, object]]:
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    server = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, "metrics_endpoint": None, **ports}
    return {
        "settings.json": server,
        "model-settings.json": {"name": "decide", "implementation": "mlserver_app.Decide"},
    }


if __name__ == "__main__":
    os.environ["STOCK_MODEL"] = sys.argv[1]
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    folder = Path(tempfile.mkdtemp(prefix="abctl-bench-mlserver-"))
    for name, content in _settings(int(sys.argv[2])).items():
        (folder / name).write_text(json.dumps(content))
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, ["mlserver", "start", str(folder)])  # noqa: S606 - no shell is meant
