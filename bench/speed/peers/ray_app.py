"""Ray Serve: a FastAPI ingress and a model in two deployments, `serve.batch` between them.

python ray_app.py MODEL.onnx PORT
"""

import signal
import sys
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve.handle import DeploymentHandle

app = FastAPI()


class Asked(BaseModel):
    """What a bot sends."""

    unit: str
    history: list[list[float]]
    started_at: int
    bot: str


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
class Model:
    """The model's replica."""

    def __init__(self, folder: str, path: str) -> None:
        sys.path.insert(0, folder)
        from stock import Stock

        self._model = Stock(path)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def answer(self, histories: list[list[list[float]]]) -> list[dict[str, Any]]:
        """All that wait, at once."""
        return self._model.answers(histories)


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0})
@serve.ingress(app)
class Ingress:
    """The HTTP side."""

    def __init__(self, model: DeploymentHandle) -> None:
        self._model = model

    @app.post("/v1/decide")
    async def decide(self, asked: Asked) -> dict[str, Any]:
        """Asks the model's replica."""
        return await self._model.answer.remote(asked.history)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Ingress.bind(Model.bind(sys.path[0], sys.argv[1])))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
