"""README.md of an exported folder: how to load the model, what goes in and what comes out."""

from typing import Final

from arms.artefact import Config
from arms.onnx_runtime import IMPORTED
from arms.schema import StateSchema

README: Final = "README.md"

_FILES: Final = {
    "torch": "`model.pt2` is a program of `torch.export`: it runs as below, without abctl. `model.pt` is the "
    'state dict, for `torch.load("model.pt", weights_only=True)`; the net that it fits is '
    "`arms.torch_nets.DecisionNet` of abctl.",
    "mlx": "`model.mlxfn` is a function of MLX: it runs as below, without abctl, for 1 or 64 histories "
    "at once; MLX promises no compatibility of such files between its versions. `weights.safetensors` are "
    'the named weights, for `mlx.core.load("weights.safetensors")`; the net that they fit is '
    "`arms.mlx_nets.DecisionNet` of abctl.",
    "onnx": "`model.onnx` is the graph that abctl serves, with its weights inside.",
}
_TORCH: Final = """import torch

decide = torch.export.load("model.pt2").module()
history = torch.zeros(1, {window}, {width})
with torch.inference_mode():
    probs, value = decide(history, torch.tensor([1]))
print(probs, value)
"""
_MLX: Final = """import mlx.core as mx

decide = mx.import_function("model.mlxfn")
history = mx.zeros((1, {window}, {width}))
probs, value = decide(history, mx.array([1]))
print(probs, value)
"""
_ONNX: Final = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
history = np.zeros((1, {window}, {width}), dtype=np.float32)
probs, value = session.run(["probs", "value"], {{"history": history, "length": np.array([1])}})
print(probs, value)
"""
_IMPORTED: Final = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
history = np.zeros((1, {window}, {width}), dtype=np.float32)
({output},) = session.run(None, {{session.get_inputs()[0].name: history}})
print({output})
"""
_CODE: Final = {"torch": _TORCH, "mlx": _MLX, "onnx": _ONNX}


def readme_of(config: Config, model: str, target: str, schema: StateSchema) -> str:
    """Markdown. model: the id; target: torch, mlx or onnx."""
    return f"""# Model {model[:12]} for {target}

{_named(config)}, exported by `abctl model export --to {target}`. {_FILES[target]}

```python
{_code(config, target, schema)}```

{_in_and_out(config, schema)}

`artefact/` is the model as abctl registers it: `abctl model import artefact --arm {config.arm}` gives model
`{model}` again. `config.json` says the same as this page, for programs.

| column | feature | unit | range |
| --- | --- | --- | --- |
{_rows(schema)}
"""


def _named(config: Config) -> str:
    preset = f", preset {config.preset}" if config.preset else ""
    return f"A model of arm {config.arm} ({config.kind}{preset})"


def _code(config: Config, target: str, schema: StateSchema) -> str:
    code = _IMPORTED if config.kind == IMPORTED else _CODE[target]
    return code.format(window=config.window, width=schema.width, output=config.output)


def _in_and_out(config: Config, schema: StateSchema) -> str:
    shape = f"float32 [n, {config.window}, {schema.width}]"
    tick_s = schema.tick_us / 1e6
    history = (
        f"`history`, {shape}: {config.window} states of `{schema.name}`, one each {tick_s:g} s, the newest "
        f"last; while there are fewer, zeros come first."
    )
    if config.kind == IMPORTED:
        return f"{history} Out comes `{config.output}`, float32 [n, 3], of hold, buy and sell."
    return (
        f"{history} `length`, integers [n]: how many of the states are real, 1 to {config.window}. Out come "
        f"`probs`, float32 [n, 3], of hold, buy and sell, and `value`, float32 [n]: the net USD expected of "
        f"acting so, 0 where the model has no critic for it."
    )


def _rows(schema: StateSchema) -> str:
    return "\n".join(
        f"| {column} | {f.name} | {f.unit} | {f.low:g} to {f.high:g} |"
        for column, f in enumerate(schema.features)
    )
