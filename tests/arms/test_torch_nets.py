import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from arms.presets import BasePreset, preset_of
from arms.torch_nets import BaseEncoder, Head, TransformerTemporalEncoder, real_states, sinusoidal

F = 18


def stock_layer(layer, d, heads):
    """The same layer built from torch's own, as an independent oracle: packed projections, zero biases."""
    stock = nn.TransformerEncoderLayer(d, heads, 4 * d, activation="gelu", batch_first=True)
    own = layer.attention
    packed = torch.cat([own.query_proj.weight, own.key_proj.weight, own.value_proj.weight])
    with torch.no_grad():
        stock.self_attn.in_proj_weight.copy_(packed)
        stock.self_attn.in_proj_bias.zero_()
        stock.self_attn.out_proj.weight.copy_(own.out_proj.weight)
        stock.self_attn.out_proj.bias.zero_()
        for mine, theirs in (
            ("linear1", "linear1"),
            ("linear2", "linear2"),
            ("ln1", "norm1"),
            ("ln2", "norm2"),
        ):
            getattr(stock, theirs).load_state_dict(getattr(layer, mine).state_dict())
    return stock.train(False)


@pytest.mark.parametrize("name", ["default", "large", "fast"])
@torch.inference_mode()
def test_the_transformer_equals_torchs_own_layers_run_in_full(net_of, name):
    preset = preset_of("transformer", name)
    encoder = net_of("transformer", name).temporal_encoder
    torch.manual_seed(1)
    history = torch.randn(6, preset.window, F)
    length = torch.tensor([1, 2, 3, preset.window - 1, preset.window, preset.window])
    real = real_states(length, preset.window)
    x = encoder.input_proj(history) + encoder.positions
    for layer in encoder.layers:
        stock = stock_layer(layer, preset.hidden, preset.heads)
        with torch.enable_grad():  # keeps the stock module off its fused path, which drops padded rows
            x = stock(x.clone(), src_key_padding_mask=~real).detach()
    expected = encoder.output_proj(encoder.norm(x[:, -1]))
    torch.testing.assert_close(encoder(history, length), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["base", "transformer"])
@torch.inference_mode()
def test_what_stands_before_the_first_state_does_not_matter(net_of, kind):
    net, window = net_of(kind), preset_of(kind, "fast").window
    clean = torch.rand(4, window, F)
    length = torch.tensor([1, 2, window - 1, window])
    dirty = clean.clone()
    clean *= real_states(length, window)[:, :, None]
    for mine, theirs in zip(net(clean, length), net(dirty, length), strict=True):
        torch.testing.assert_close(mine, theirs)


@torch.inference_mode()
def test_the_same_state_elsewhere_in_the_window_is_seen_differently(net_of):
    net = net_of("transformer")
    early, late = torch.zeros(1, 10, F), torch.zeros(1, 10, F)
    early[0, 2, 0] = late[0, 6, 0] = 1
    length = torch.tensor([10])
    assert not torch.allclose(net(early, length)[0], net(late, length)[0], atol=1e-6)


def test_positions_are_the_sinusoids_of_the_paper():
    table = sinusoidal(20, 64).numpy()
    for position, i in ((0, 0), (7, 3), (19, 31)):
        angle = position / 10_000 ** (2 * i / 64)
        np.testing.assert_allclose(
            table[position, [2 * i, 2 * i + 1]], [np.sin(angle), np.cos(angle)], atol=1e-6
        )


def test_shapes_and_sizes_are_the_guides():
    base = BaseEncoder(preset_of("base", "default"), F)
    transformer = TransformerTemporalEncoder(preset_of("transformer", "default"), F)
    length = torch.tensor([5, 5])
    assert base(torch.zeros(2, 5, F), length).shape == (2, 32)
    assert transformer(torch.zeros(2, 20, F), length).shape == (2, 32)
    assert base.fc1.weight.shape == (64, 90)
    assert transformer.layers[1].linear1.weight.shape == (256, 64)


def test_gradients_of_the_critic_stop_at_the_encoder(net_of):
    net = net_of("base")
    _, value = net(torch.rand(2, 3, F), torch.tensor([3, 3]))
    value.sum().backward()
    assert net.critic.fc1.weight.grad is not None
    assert net.temporal_encoder.fc1.weight.grad is None


@pytest.mark.parametrize(("part", "hidden", "out"), [("actor", 64, 3), ("critic", 96, 1)])
@torch.inference_mode()
def test_weights_trained_elsewhere_load_one_to_one(shared, part, hidden, out):
    """Real base weights trained in MLX: every name fits, and the answers equal plain numpy's."""
    tensors = safetensors.numpy.load_file(shared / "data/lacuna_weights/rl_model.safetensors")
    mine = {
        name.removeprefix(f"{part}."): array for name, array in tensors.items() if name.startswith(f"{part}.")
    }
    encoder, head = BaseEncoder(BasePreset("theirs", 5, 64, 32), F), Head(F + 32, hidden, out)
    encoder_names = {
        n.removeprefix("temporal_encoder."): a for n, a in mine.items() if n.startswith("temporal_encoder.")
    }
    head_names = {n: a for n, a in mine.items() if not n.startswith("temporal_encoder.")}
    encoder.load_state_dict({n: torch.from_numpy(a) for n, a in encoder_names.items()})
    head.load_state_dict({n: torch.from_numpy(a) for n, a in head_names.items()})
    history = np.random.default_rng(0).uniform(-1, 1, (64, 5, F)).astype(np.float32)
    temporal = plain(history.reshape(64, -1), encoder_names, 2)
    expected = plain(np.concatenate([history[:, -1], temporal], axis=1), head_names, 2)
    expected = expected @ head_names["fc3.weight"].T + head_names["fc3.bias"]
    x = torch.from_numpy(history)
    answered = head(torch.cat([x[:, -1], encoder(x, torch.full((64,), 5))], dim=1))
    np.testing.assert_allclose(answered.numpy(), expected, atol=2e-5)


def plain(x, tensors, layers):
    for i in range(1, layers + 1):
        x = x @ tensors[f"fc{i}.weight"].T + tensors[f"fc{i}.bias"]
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        x = np.tanh(x * tensors[f"ln{i}.weight"] + tensors[f"ln{i}.bias"])
    return x
