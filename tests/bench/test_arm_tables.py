"""The tables of the arms: their references answer as ours do, and every row and promise is there."""

import re
from dataclasses import replace
from pathlib import Path

import arm_latency
import numpy as np
import pytest
import torch
import training_speed
from speed.found import Section
from stock import course, page
from stock.costs import CostSizes, costs
from stock.course import Sizes
from stock.duel import Pace, Times, duel
from stock.loop import Loop
from stock.nets import AGREE, exported, same
from stock.subject import apart_by, subject_of

from arms.cloning import material_of
from arms.onnx_runtime import session_of
from arms.presets import PRESETS, preset_of
from arms.schema import MARKET_V1
from arms.torch_nets import DecisionNet

TINY = Sizes(windows=300, epochs=2, markets=20)
ONCE = Pace(rounds=1, block_s=0.0, warm_up=0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("subjects")
    return [subject_of(preset_of(kind, "fast"), folder) for kind in ("base", "transformer")]


@pytest.mark.parametrize("key", PRESETS, ids=str)
def test_the_stock_net_is_the_same_function(key) -> None:
    """Trained weights do not come with zero biases, so all of ours are moved away from their first values."""
    preset = PRESETS[key]
    torch.manual_seed(1)
    net = DecisionNet(preset, MARKET_V1.width)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert training_speed.apart_by(net, preset) <= AGREE
    with torch.no_grad():
        net.actor.fc1.weight[:, 0] += 1
    assert training_speed.apart_by(net, preset) <= AGREE  # copied anew


def test_the_export_and_the_served_arm_agree(subjects) -> None:
    assert [apart_by(subject) <= AGREE for subject in subjects] == [True, True]


def test_another_function_is_no_reference(subjects) -> None:
    subject = subjects[1]
    weight = subject.stock.encoder.layers.layers[0].self_attn.in_proj_weight
    with torch.no_grad():
        weight[0].add_(1)
        apart = apart_by(subject)
        weight[0].sub_(1)
    assert apart > AGREE


def test_our_training_and_the_plain_loop_learn_the_same(subjects) -> None:
    """Base has no dropout: the same rows and rate give the same loss in every epoch."""
    run = training_speed.raced(preset_of("base", "fast"), TINY)
    ours = np.array([epoch.loss for epoch in run.ours])
    assert np.array([epoch.loss for epoch in run.stock]) == pytest.approx(ours, rel=1e-4)
    assert np.array([epoch.loss for epoch in run.again]) == pytest.approx(ours, rel=1e-4)
    assert ours[1] != ours[0]


def test_the_plain_loop_trains_the_stock_transformer() -> None:
    preset, config = preset_of("transformer", "fast"), course.config_of(Sizes(600, 3, 20))
    net = same(training_speed.first_net(preset, config), preset)
    loop = Loop(net, material_of(course.episodes_of(20), preset.window), config)
    losses = [loop.epoch().loss for _ in range(3)]
    assert losses[2] < losses[0]
    assert loop.hits > 0


def test_turns_are_counted_for_every_contender() -> None:
    calls = {"a": 0, "b": 0}

    def count(name: str) -> None:
        calls[name] += 1

    times = duel({name: lambda name=name: count(name) for name in calls}, Pace(4, 0.0, 2))
    assert calls == {"a": 6, "b": 6}
    assert [len(each) for each in times.us.values()] == [4, 4]


def test_a_ratio_is_of_rounds_not_of_medians() -> None:
    """A busy minute slows both: it must not change the ratio."""
    times = Times({"ours": np.array([1.0, 10.0, 100.0]), "theirs": np.array([2.0, 20.0, 200.0])})
    assert times.ratio("ours", "theirs") == 0.5


def test_the_inference_table_has_both_sizes_of_the_default_preset(subjects) -> None:
    default = replace(subjects[1], preset=replace(subjects[1].preset, name="default"))
    section = arm_latency.inference([subjects[0], default], ONCE)
    expected = [("base", "fast", "1"), ("transformer", "default", "1"), ("transformer", "default", "256")]
    assert [row[:3] for row in section.rows] == expected
    assert all(len(row) == len(section.header) for row in section.rows)
    assert len(section.findings) == 3


def test_a_row_of_costs_is_complete(subjects) -> None:
    section = costs(subjects[:1], CostSizes(calls=10, training=TINY))
    (row,) = section.rows
    assert len(row) == len(section.header)
    assert row[:4] == ("base", "fast", "3", "7,124")
    assert all(float(cell.replace(",", "")) > 0 for cell in row[4:])


def test_promises_are_judged_by_the_bars_they_name() -> None:
    times = Times({name: np.array([us]) for name, us in
                   {"abctl": 60.0, "graph": 60.0, "export": 100.0, "eager": 200.0}.items()})  # fmt: skip
    found = arm_latency._promises("transformer", 1, times)
    assert [(f.target, f.holds) for f in found] == [("at most 0.65x", True), ("at most 0.25x", False)]
    assert [f.target for f in arm_latency._promises("base", 1, times)] == ["at most 0.2x"]
    assert [f.holds for f in arm_latency._promises("transformer", 256, times)] == [True]


def test_a_process_of_its_own_tells_time_rows_and_its_own_peak() -> None:
    hoard = np.ones(100_000_000, dtype=np.float32)  # ours, not the child's
    said = course.trained_alone("torch", "base", "fast", TINY)
    assert set(said) == {"rows", "seconds", "samples_per_s", "peak_mib"}
    assert said["rows"] == pytest.approx(300, rel=0.2)
    assert 50 < said["peak_mib"] < course.peak_mib() - hoard.nbytes / 2**21


def test_a_missed_promise_ends_with_its_name() -> None:
    run = Section("x", "t", ("a",), (), training_speed._promises(1.9, 1.0, 1.0))
    with pytest.raises(SystemExit, match=re.escape("samples/s of stock, transformer")):
        page.judge([run])
    page.judge([Section("x", "t", ("a",), (), training_speed._promises(2.0, 1.0, 1.0))])


def test_the_page_is_written_between_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "arm-tables.md")
    for rows in ((("1",),), (("2",),)):
        page.write([Section("costs", "What every preset costs", ("a",), rows)])
    text = page.PAGE.read_text()
    assert text.startswith("# Arms: size and speed")
    assert text.count("What every preset costs") == 1
    assert "| 2" in text
    assert "| 1" not in text


def test_the_export_reads_any_number_of_histories(tmp_path: Path) -> None:
    preset = preset_of("transformer", "fast")
    path = exported(same(DecisionNet(preset, MARKET_V1.width), preset), preset, tmp_path / "net.onnx")
    session = session_of(path.read_bytes(), "stock")
    for rows in (1, 3):
        inputs = {
            "history": np.zeros((rows, preset.window, MARKET_V1.width), dtype=np.float32),
            "length": np.ones(rows, dtype=np.int64),
        }
        probs, value = session.run(None, inputs)
        assert (probs.shape, value.shape) == ((rows, 3), (rows,))
