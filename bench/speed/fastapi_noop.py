"""FastAPI and pydantic doing nothing: the same body is validated, a constant is answered.

python bench/speed/fastapi_noop.py
"""

from asgi import serve
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Asked(BaseModel):
    """What a bot sends."""

    unit: str
    history: list[list[float]]
    started_at: int
    bot: str


class Reply(BaseModel):
    """Less than any service would answer."""

    action: str


@app.post("/v1/decide")
async def decide(_asked: Asked) -> Reply:
    """Holds."""
    return Reply(action="hold")


if __name__ == "__main__":
    serve(app)
