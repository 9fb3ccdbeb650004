"""LitServe: its HTTP process and one inference worker, batching what waits, as its documentation has it.

python litserve_app.py MODEL.onnx PORT
"""

import sys
from typing import Any

import litserve
from stock import Stock


class Decide(litserve.LitAPI):
    """Requests are decoded and answers encoded by the worker."""

    def setup(self, _device: str) -> None:
        """Loads the model in the worker."""
        self._model = Stock(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> list[list[float]]:
        """The history of one request."""
        return request["history"]

    def predict(self, histories: list[list[list[float]]]) -> list[dict[str, Any]]:
        """A batch at once."""
        return self._model.answers(histories)

    def batch(self, inputs: list[list[list[float]]]) -> list[list[list[float]]]:
        """Nothing to stack yet: the model does."""
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer a request."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        return output


if __name__ == "__main__":
    api = Decide(max_batch_size=16, batch_timeout=0.001, api_path="/v1/decide")
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1)
    quiet = {"generate_client_file": False, "log_level": "warning"}
    server.run(host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, **quiet)
