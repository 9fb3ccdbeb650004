"""The arms inside a bot answer as the service's do, tick by tick, each market for itself."""

import shutil
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from arms.artefact import GOLDEN, ONNX, read_artefact
from arms.choosing import Choice, chosen_at_random
from arms.errors import ActError, ArmUnknown, ArtefactError, HistoryError
from arms.histories import Histories
from arms.onnx_import import import_onnx
from arms.onnx_runtime import load, window_of
from arms.schema import MARKET_V1
from arms.strategies import HybridStrategy, Probs, RLStrategy, TransformerRLStrategy

ROOT = Path(__file__).resolve().parents[2]
STARTERS = ROOT / "arms" / "starters"
FAST = {
    RLStrategy: {"seq_len": 3, "hidden_dim": 32, "temporal_dim": 16},
    TransformerRLStrategy: {"seq_len": 10, "n_heads": 2, "n_layers": 1, "d_model": 32, "temporal_dim": 16},
}
BOTH = pytest.mark.parametrize("strategy_of", list(FAST))
FIRST, SECOND = "btc-updown-15m-1767225600", "btc-updown-15m-1767226500"
ZEROS = np.zeros(18, dtype=np.float32)


def folder_of(strategy_of):
    return STARTERS / strategy_of.kind


def playing(strategy_of, **options):
    return strategy_of(**FAST[strategy_of], **options).load(folder_of(strategy_of))


def served(strategy_of):
    return load(read_artefact(folder_of(strategy_of)), MARKET_V1)


def states(seed, ticks):
    rng = np.random.default_rng(seed)
    return rng.uniform(MARKET_V1.low, MARKET_V1.high, (ticks, 18)).astype(np.float32)


def answer(arm, history):
    """What the service would say to this history."""
    acted = arm.act(*window_of(history, arm.window))
    return acted.probs[0].tolist(), float(acted.value[0])


def said(action):
    return list(action.probs), action.value


def hybrid_of(choose, **options):
    return HybridStrategy(playing(RLStrategy), playing(TransformerRLStrategy), choose, **options)


@BOTH
def test_every_tick_of_a_market_is_answered_as_the_service_does(strategy_of):
    strategy, arm, ticks = playing(strategy_of), served(strategy_of), states(1, 30)
    for i in range(30):
        action = strategy.act(ticks[i], market=FIRST)
        assert said(action) == answer(arm, ticks[: i + 1])
        assert action.ticks == min(i + 1, strategy.seq_len)
        assert action.model == strategy.model == arm.model


@BOTH
def test_an_action_is_the_most_probable_one_and_frozen(strategy_of):
    strategy, seen = playing(strategy_of), set()
    for state in states(2, 300):
        action = strategy.act(state, FIRST)
        assert action.confidence == max(action.probs) == getattr(action.probs, action.name)
        seen.add(action.name)
    assert len(seen) > 1
    assert isinstance(action.probs, Probs)
    with pytest.raises(FrozenInstanceError):
        action.value = 1.0


@BOTH
def test_markets_that_tick_in_turn_do_not_read_each_other(strategy_of):
    strategy, arm = playing(strategy_of), served(strategy_of)
    first, second = states(3, 25), states(4, 25)
    for i in range(25):
        assert said(strategy.act(first[i], FIRST)) == answer(arm, first[: i + 1])
        if i >= 12:  # the next window's book opens while this one still trades
            assert said(strategy.act(second[i], SECOND)) == answer(arm, second[12 : i + 1])


@BOTH
def test_markets_in_threads_do_not_read_each_other(strategy_of):
    strategy, arm, wrong = playing(strategy_of), served(strategy_of), []

    def play(n):
        ticks = states(n, 60)
        got = [said(strategy.act(tick, f"m-{n}")) for tick in ticks]
        wrong.extend((n, i) for i in range(60) if got[i] != answer(arm, ticks[: i + 1]))

    threads = [threading.Thread(target=play, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_history_holds_still_while_it_is_read():
    strategy, during = playing(TransformerRLStrategy), []
    arm = strategy._playing.arm

    def act(history, length):
        before = history.copy()
        meanwhile = threading.Thread(target=strategy.observe, args=(np.ones(18, np.float32), FIRST))
        meanwhile.start()
        meanwhile.join(0.2)  # it waits for its turn
        during.append((np.array_equal(history, before), int(length[0]), meanwhile))
        return arm.act(history, length)

    strategy._playing.arm = SimpleNamespace(act=act, model="m", window=arm.window)
    assert strategy.act(ZEROS, FIRST).ticks == 1
    ((still, ticks, meanwhile),) = during
    meanwhile.join()
    assert (still, ticks) == (True, 1)


@pytest.mark.parametrize("window", [1, 3, 20])
def test_a_window_is_the_one_that_the_service_makes(window):
    """Zeros before the first state, too: weights that were not trained with a mask read them."""
    histories, ticks = Histories((window, 18), 4), states(10, 25)
    histories.replaced("m", ticks)
    for rows in (1, 2, 24):
        same(histories.replaced("m", ticks[:rows]), window_of(ticks[:rows], window))
        same(histories.added("m", ticks[rows]), window_of(ticks[: rows + 1], window))


def same(made, wanted):
    np.testing.assert_array_equal(made[0], wanted[0])
    np.testing.assert_array_equal(made[1], wanted[1])


@BOTH
def test_a_new_window_begins_with_an_empty_history(strategy_of):
    strategy, arm = playing(strategy_of), served(strategy_of)
    for state in states(5, 12):
        strategy.act(state, FIRST)
    assert said(strategy.act(ZEROS, SECOND)) == answer(arm, ZEROS[None])
    strategy.reset(FIRST)
    strategy.reset("never seen")
    assert strategy.act(ZEROS, FIRST).ticks == 1


def test_beyond_its_bound_the_market_that_ticked_longest_ago_is_forgotten():
    strategy = playing(TransformerRLStrategy, markets_max=2)
    for market in ("a", "b", "a", "c"):
        strategy.act(ZEROS, market)
    assert [strategy.act(ZEROS, market).ticks for market in ("a", "c", "b")] == [3, 2, 1]


@BOTH
def test_a_sequence_is_the_whole_history(strategy_of):
    strategy, arm, ticks = playing(strategy_of), served(strategy_of), states(6, 40)
    strategy.act(ticks[0], FIRST)
    for rows in (1, 2, 20, 39):
        given = ticks[:rows] if rows % 2 else ticks[:rows].tolist()
        assert said(strategy.act(given, FIRST)) == answer(arm, ticks[:rows])
    assert said(strategy.act(ticks[39], FIRST)) == answer(arm, ticks)
    strategy.observe(ticks[:2], FIRST)
    assert said(strategy.act(ticks[2], FIRST)) == answer(arm, ticks[:3])


def test_what_is_observed_counts_as_a_tick_and_a_reload_keeps_it():
    strategy = TransformerRLStrategy(**FAST[TransformerRLStrategy])
    strategy.observe(ZEROS, FIRST)
    strategy.load(folder_of(TransformerRLStrategy))
    assert strategy.act(ZEROS, FIRST).ticks == 2
    assert strategy.load(folder_of(TransformerRLStrategy)).act(ZEROS, FIRST).ticks == 3


def with_one(value):
    state = ZEROS.tolist()
    state[3] = value
    return state


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (with_one(float("nan")), r"\[3\] \(ob_imbalance_l1\) is nan: send a finite number"),
        (with_one(1e300), r"\(ob_imbalance_l1\) is inf"),
        (with_one(1.5), r"is 1.5: it must lie in \[-1, 1\]"),
        (with_one("0.5"), "state must be 18 plain numbers"),
        (with_one(None), "state must be 18 plain numbers"),
        (with_one([0.5]), "state must be 18 plain numbers"),
        ([True] * 18, "state must be 18 plain numbers"),
        (ZEROS[:17], r"shape \[1, 17\]: send 1 or more rows of 18 numbers"),
        (np.zeros((0, 18)), r"shape \[0, 18\]"),
        (np.zeros((1, 20, 18)), r"shape \[1, 20, 18\]"),
        (0.5, r"shape \[\]"),
    ],
)
def test_a_bad_state_is_refused_and_not_remembered(state, told):
    strategy = playing(TransformerRLStrategy)
    strategy.act(ZEROS, FIRST)
    with pytest.raises(HistoryError, match=told):
        strategy.act(state, FIRST)
    assert strategy.act(ZEROS, FIRST).ticks == 2


@pytest.mark.parametrize(
    ("market", "rule"),
    [(" ", "blank"), ("a\n", "control"), ("\ud800", "surrogates"), ("é" * 129, "256 bytes")],
)
def test_a_market_is_named_as_the_service_wants_it(market, rule):
    with pytest.raises(HistoryError, match=f"market must .*{rule}.*: give its id, such as btc-"):
        playing(RLStrategy).act(ZEROS, market)


def test_the_guides_lines():
    assert (
        vars(TransformerRLStrategy()).items()
        >= {
            "seq_len": 20,
            "n_heads": 4,
            "n_layers": 2,
            "d_model": 64,
            "temporal_dim": 32,
        }.items()
    )
    TransformerRLStrategy(seq_len=40, n_heads=8, n_layers=3, d_model=128, temporal_dim=64)
    TransformerRLStrategy(seq_len=10)
    assert TransformerRLStrategy(batch_size=32, dropout=0.2).batch_size == 32
    with pytest.raises(FrozenInstanceError):
        RLStrategy().seq_len = 6
    with pytest.raises(ActError, match=r"TransformerRLStrategy has no model: call its load\(folder\)"):
        TransformerRLStrategy().act(ZEROS, FIRST)


@pytest.mark.parametrize("kind", ["base", "transformer"])
@pytest.mark.parametrize("name", ["default", "large"])
def test_the_guides_sizes_are_those_of_the_presets(exported, tmp_path, kind, name):
    exported(kind, name)
    sizes = {
        ("base", "default"): RLStrategy(),
        ("base", "large"): RLStrategy(seq_len=10, hidden_dim=128, temporal_dim=64),
        ("transformer", "default"): TransformerRLStrategy(batch_size=32, dropout=0.2),
        ("transformer", "large"): TransformerRLStrategy(
            seq_len=40, n_heads=8, n_layers=3, d_model=128, temporal_dim=64
        ),
    }
    strategy = sizes[kind, name].load(str(tmp_path / "model"))
    arm, ticks = load(read_artefact(tmp_path / "model"), MARKET_V1), states(7, 45)
    for i in range(45):
        assert said(strategy.act(ticks[i], FIRST)) == answer(arm, ticks[: i + 1])


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            TransformerRLStrategy,
            (
                r"preset fast with seq_len=10, n_heads=2, n_layers=1, d_model=32, temporal_dim=16, "
                r"not seq_len=20, n_heads=4, n_layers=2, d_model=64, temporal_dim=32: "
                r"write TransformerRLStrategy\(seq_len=10, n_heads=2, n_layers=1, d_model=32, "
                r"temporal_dim=16\), or load a model of preset default, which has the sizes that you gave$"
            ),
        ),
        (lambda: TransformerRLStrategy(seq_len=10), "or load another model, though no preset has the sizes"),
        (RLStrategy, "transformer is of kind transformer, and RLStrategy plays base: load it with"),
    ],
)
def test_sizes_that_the_artefact_does_not_have_are_refused(made, told):
    strategy = made()
    with pytest.raises(ArtefactError, match=told):
        strategy.load(folder_of(TransformerRLStrategy))
    assert not strategy.loaded


def test_the_remedy_for_wrong_sizes_is_code_that_works():
    with pytest.raises(ArtefactError) as refused:
        TransformerRLStrategy().load(folder_of(TransformerRLStrategy))
    written = str(refused.value).partition("write ")[2].partition(", or load")[0]
    made = eval(written, {"TransformerRLStrategy": TransformerRLStrategy})  # noqa: S307 - our own sentence
    assert made.load(folder_of(TransformerRLStrategy)).loaded


def test_a_users_own_onnx_has_no_sizes_to_claim(tmp_path):
    def own():
        import onnx
        from onnx import TensorProto, helper

        node = helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=0)
        cut = helper.make_node("Slice", ["m", "s", "e", "a"], ["y"])
        parts = [
            helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in (("s", 0), ("e", 3), ("a", 1))
        ]
        graph = helper.make_graph(
            [node, cut],
            "own",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 18])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
            parts,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, tmp_path / "own.onnx")

    own()
    import_onnx(tmp_path / "own.onnx", tmp_path / "m", arm="own", window=4, schema=MARKET_V1, output="logits")
    with pytest.raises(ArtefactError, match="is of kind imported, and RLStrategy plays base"):
        RLStrategy(seq_len=4).load(tmp_path / "m")


@pytest.mark.parametrize(
    ("strategy_of", "given", "told"),
    [
        (RLStrategy, {"seq_len": 0}, "seq_len is 0: it must be a whole number"),
        (RLStrategy, {"batch_size": 2.5}, "batch_size is 2.5"),
        (RLStrategy, {"markets_max": True}, "markets_max is True"),
        (TransformerRLStrategy, {"n_heads": "4"}, "n_heads is '4'"),
        (TransformerRLStrategy, {"dropout": 1.0}, r"dropout is 1.0: it must lie in \[0, 1\)"),
        (TransformerRLStrategy, {"dropout": float("nan")}, "dropout is nan"),
    ],
)
def test_arguments_out_of_range_are_refused(strategy_of, given, told):
    with pytest.raises(ValueError, match=told):
        strategy_of(**given)


@pytest.fixture
def corrupted(tmp_path):
    """A copy of the transformer starter with one byte of its ONNX weights changed."""
    folder = shutil.copytree(folder_of(TransformerRLStrategy), tmp_path / "model")
    content = bytearray((folder / ONNX).read_bytes())
    weights = max(range(0, len(content) - 4096, 4096), key=lambda at: len(set(content[at : at + 4096])))
    for at in range(weights, weights + 4096, 4):
        content[at + 2] ^= 0x55
    (folder / ONNX).write_bytes(content)
    return folder


def test_a_corrupted_artefact_is_refused_and_the_old_model_goes_on(corrupted):
    strategy = playing(TransformerRLStrategy)
    before = strategy.model
    with pytest.raises(ArtefactError, match=r"self-test|cannot load"):
        strategy.load(corrupted)
    assert strategy.model == before
    assert strategy.act(ZEROS, FIRST).model == before


def test_the_id_that_is_expected_is_asked_for():
    folder, strategy = folder_of(RLStrategy), RLStrategy(**FAST[RLStrategy])
    known = read_artefact(folder).id
    assert strategy.load(folder, model=known).model == strategy.load(folder, model=known[:12]).model == known
    with pytest.raises(ArtefactError, match=f"the files are model {known}, not {'0' * 32}"):
        strategy.load(folder, model="0" * 32)
    with pytest.raises(ArtefactError, match="too short: give at least 12 digits"):
        strategy.load(folder, model=known[:11])


@pytest.fixture(scope="module")
def bucket_url(module_patch):
    """A real S3 server of our own, with both starters in a bucket."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        module_patch.setenv(name, value)
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    store.mkdir("models")
    for kind in ("base", "transformer"):
        for file in (STARTERS / kind).iterdir():
            store.pipe_file(f"models/v1/{kind}/{file.name}", file.read_bytes())
    yield "s3://models/v1"
    server.stop()


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@BOTH
@pytest.mark.parametrize("end", ["", "/"])
def test_a_model_of_a_bucket_is_the_model_of_the_folder(bucket_url, strategy_of, end):
    strategy = strategy_of(**FAST[strategy_of]).load(f"{bucket_url}/{strategy_of.kind}{end}")
    arm = served(strategy_of)
    assert strategy.model == arm.model
    assert said(strategy.act(ZEROS, FIRST)) == answer(arm, ZEROS[None])


def test_a_bucket_says_its_own_name_when_something_is_wrong(bucket_url):
    import s3fs

    strategy = TransformerRLStrategy(**FAST[TransformerRLStrategy])
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    store.pipe_file("models/half/model.onnx", b"x")
    store.pipe_file("models/altered/config.json", b"{}")
    for file in (STARTERS / "base").iterdir():
        store.pipe_file(f"models/mixed/{file.name}", file.read_bytes())
    store.pipe_file(f"models/mixed/{GOLDEN}", (STARTERS / "transformer" / GOLDEN).read_bytes())
    with pytest.raises(ArtefactError, match=r"^s3://models/half has no config.json"):
        strategy.load("s3://models/half/")
    with pytest.raises(ArtefactError, match=r"^s3://models/nothing"):
        strategy.load("s3://models/nothing")
    with pytest.raises(ArtefactError, match=r"^s3://models/altered"):
        strategy.load("s3://models/altered")
    with pytest.raises(ArtefactError, match="self-test"):
        RLStrategy(**FAST[RLStrategy]).load("s3://models/mixed")
    with pytest.raises(ArtefactError, match=r"^s3://models/v1/transformer is preset fast"):
        TransformerRLStrategy().load("s3://models/v1/transformer")
    assert not strategy.loaded


def without(code, *missing):
    """Runs code in a fresh interpreter in which some modules cannot be found."""
    hide = f"import sys\nfor name in {missing!r}: sys.modules[name] = None\n"
    return subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True, cwd=ROOT)


def test_importing_and_playing_needs_neither_server_nor_torch_nor_s3():
    heavy = {"torch", "mlx", "fastapi", "uvicorn", "router", "store", "redis", "cli", "market"}
    heavy |= {"sqlalchemy", "aiohttp", "fsspec", "s3fs", "scipy", "polars", "matplotlib", "pydantic"}
    code = f"""
import sys
from arms.strategies import RLStrategy
imported = set(sys.modules)
RLStrategy(seq_len=3, hidden_dim=32, temporal_dim=16).load("arms/starters/base").act([0] * 18, market="m")
for names in (imported, set(sys.modules)):
    print(sorted({{name.partition(".")[0] for name in names}} & {heavy!r}))
"""
    done = without(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "[]"]


def test_a_choice_is_made_once_per_market_and_kept():
    asked = []

    def choose(market):
        asked.append(market)
        return "base" if len(asked) % 2 else "transformer"

    hybrid, ticks = hybrid_of(choose), states(8, 10)
    base, transformer = served(RLStrategy), served(TransformerRLStrategy)
    for i in range(10):
        assert said(hybrid.act(ticks[i], FIRST)) == answer(base, ticks[: i + 1])
        assert said(hybrid.act(ticks[9 - i], market=SECOND)) == answer(transformer, ticks[::-1][: i + 1])
    assert asked == [FIRST, SECOND]
    assert hybrid.choice(FIRST) == Choice("base", "own", {})
    hybrid.reset(FIRST)
    assert hybrid.choice(FIRST).arm == "base"  # the third answer
    assert hybrid.act(ticks[0], FIRST).ticks == 1


def test_a_hybrid_holds_so_many_choices():
    asked = []
    hybrid = hybrid_of(lambda market: asked.append(market) or "base", markets_max=2)
    for market in ("a", "b", "a", "c", "a", "b"):
        hybrid.act(ZEROS, market)
    assert asked == ["a", "b", "c", "b"]


def test_an_arm_that_a_hybrid_does_not_carry_is_refused():
    with pytest.raises(ArmUnknown, match=r"given arm 'mine' \(own\), and HybridStrategy carries base and"):
        hybrid_of(lambda market: "mine").act(ZEROS, FIRST)
    with pytest.raises(ActError, match="transformer has no model"):
        HybridStrategy(playing(RLStrategy), TransformerRLStrategy(), chosen_at_random(seed=1))


def test_ticks_without_an_arm_are_not_lost():
    answers = iter([ConnectionError("away"), ConnectionError("away")])

    def choose(market):
        for error in answers:
            raise error
        return "transformer"

    hybrid, ticks = hybrid_of(choose), states(9, 3)
    for tick in ticks[:2]:
        with pytest.raises(ConnectionError):
            hybrid.act(tick, FIRST)
    assert said(hybrid.act(ticks[2], FIRST)) == answer(served(TransformerRLStrategy), ticks)


def test_arms_in_each_others_places_are_refused():
    """Every choice would be answered by the other arm."""
    with pytest.raises(ValueError, match="base is a TransformerRLStrategy"):
        HybridStrategy(playing(TransformerRLStrategy), playing(RLStrategy), chosen_at_random(seed=1))
