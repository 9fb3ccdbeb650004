"""A worker with everything real: uvicorn on loopback in a thread, SQLite or PostgreSQL, a private Valkey."""

import asyncio
import http.client
import json
import secrets
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import redis
import uvicorn
from onnx import TensorProto, helper

from arms.artefact import CONFIG, FILES, Trained, read_artefact
from arms.onnx_import import import_onnx
from arms.presets import preset_of
from arms.schema import MARKET_V1
from cli.carrier import Carrier
from router import change
from router.app import create_app, protocol_of
from router.connection import Limits
from router.definition import experiment_of
from router.service import ServiceConfig, build
from router.snapshot import first_split
from store import api_keys, experiments, keys, models, schema
from store.bindings import RedisFirstSight
from store.clock import wall_clock_us
from store.data_dir import DataDir
from store.lives import RedisLives
from store.pepper import pepper_of
from store.sql import open_engine
from store.tokens import digest_of, id_of, pepper_id, token_of

WIDTH = MARKET_V1.width
BY = change.By("test", "test")


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def state(first=0.1, width=WIDTH):
    return [first, *[0.2] * (width - 1)]


def asked_for(unit="unit-1", **more):
    return {"unit": unit, "history": [state()], "started_at": wall_clock_us() // 1000, **more}


@dataclass
class Node:
    """One running worker."""

    port: int
    service: Any
    data_dir: DataDir
    engine: Any
    redis_url: str

    def ask(self, method, path, body=None, headers=None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            json_type = {"content-type": "application/json"}
            connection.request(method, path, content, headers or json_type)
            reply = connection.getresponse()
            headers = {k.lower(): v for k, v in reply.getheaders()}
            return Reply(reply.status, headers, reply.read())
        finally:
            connection.close()

    def post(self, path, body):
        return self.ask("POST", path, body)

    def decide(self, unit="unit-1", **more) -> dict:
        reply = self.post("/v1/decide", asked_for(unit, **more))
        assert reply.status == 200, reply.body
        return reply.json

    def refused(self, path, body, status=422, method="POST"):
        """The problem with which a request is refused."""
        reply = self.ask(method, path, body)
        assert reply.status == status, (reply.status, reply.body)
        assert reply.headers["content-type"] == "application/problem+json"
        found = reply.json
        assert found["status"] == status
        assert found["type"] == f"urn:abctl:problem:{found['title'].replace(' ', '_')}"
        return found

    def set_share(self, share, arm="transformer", key="main", lead_us=0):
        made = change.set_share(self.engine, key, arm, str(share), BY, wall_clock_us, lead_us)
        self.wait(lambda: len(self.service.desk.snapshot.views[key].history) == made.version)
        return made

    def create(self, key, **fields):
        made = experiment_of(
            {"key": key, "arms": ["base", "transformer"], "control": "base", **fields}, wall_clock_us()
        )
        experiments.create(self.engine, made, first_split(made, "test"), "test")
        vouch(self.redis_url, key)
        self.wait(lambda: key in self.service.desk.snapshot.views)
        return made

    def promote(self, arm, folder):
        return promote(self.engine, arm, folder)

    def give(self, name, *scopes, experiment=None):
        """A key as `abctl key create` makes it; the node knows it when this returns."""
        key, token = key_for(pepper_of("", self.data_dir), name, scopes, experiment)
        api_keys.create(self.engine, key)
        self.wait(lambda: key.id.encode() in self.service.door.keyring.by_id)
        return token

    def wait(self, holds, timeout_s=8.0):
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.02)

    @contextmanager
    def carrying(self):
        """Journals go to SQL for as long as this lasts, and are there whole afterwards."""
        engine = open_engine(str_url(self.engine))
        carrier = Carrier(self.data_dir, engine, self.redis_url, wall_clock_us)
        thread = threading.Thread(target=carrier.run)
        thread.start()
        try:
            yield
        finally:
            carrier.stop()
            thread.join(20)
            carrier._redis.close()
            engine.dispose()


def key_for(pepper, name, scopes, experiment=None):
    token = token_of(secrets.token_bytes(40))
    key = api_keys.ApiKey(
        id=id_of(token.encode()).decode(),
        name=name,
        scopes=tuple(scopes),
        experiment=experiment,
        pepper=pepper_id(pepper),
        digest=digest_of(pepper, token.encode()),
        created_at_us=wall_clock_us(),
        created_by="test",
    )
    return key, token


def str_url(engine):
    return engine.url.render_as_string(hide_password=False)


def promote(engine, arm, folder):
    artefact = read_artefact(folder)
    content = {n: (folder / n).read_bytes() for n in FILES if (folder / n).is_file()}
    entry = models.ModelEntry(artefact.id, arm, content[CONFIG].decode(), wall_clock_us(), "test")
    models.register(engine, entry, content)
    models.set_alias(
        engine, models.AliasChange(arm, "champion", artefact.id, wall_clock_us(), "test", "test")
    )
    return artefact.id


def opened(sql_url):
    """A migrated database with the experiment main."""
    engine = open_engine(sql_url)
    schema.upgrade(engine)
    main = experiment_of({"key": "main", "arms": ["base", "transformer"], "control": "base"}, wall_clock_us())
    experiments.ensure(engine, main, first_split(main, "test"), "test")
    return engine


def vouch(redis_url, experiment):
    """What the shipper says of a Redis that remembers every first sight; here for good."""
    with suppress(redis.RedisError), redis.Redis.from_url(redis_url) as client:
        client.set(keys.vouched(experiment), client.info("server")["run_id"])


@contextmanager
def serving(data_dir, engine, redis_url, limits=Limits(), **settings):  # noqa: B008
    """A worker over what is there already."""
    settings = {"pepper": pepper_of("", data_dir), "is_local": True} | settings
    vouch(redis_url, "main")
    config = ServiceConfig(data_dir=data_dir, default_experiment="main", **settings)
    first_sight = RedisFirstSight(redis_url)
    service = build(config, engine, first_sight, wall_clock_us, RedisLives(redis_url))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            port=0,
            http=protocol_of(service, limits),
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )

    async def run():
        await server.serve()
        await first_sight.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the worker did not start"
            assert time.monotonic() < deadline, "the worker did not start in time"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Node(port, service, data_dir, engine, redis_url)
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def standing(folder, artefacts, redis_url, **settings):
    """A worker with data of its own."""
    data_dir = DataDir(folder).prepare()
    engine = opened(f"sqlite:///{data_dir.database}")
    for arm in ("base", "transformer"):
        promote(engine, arm, artefacts / arm)
    with serving(data_dir, engine, redis_url, **settings) as found:
        yield found


@pytest.fixture(scope="session")
def tools():
    """The functions of this file, for fixtures of a module's own."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def question():
    """A request's fields: a unit that starts now, one row."""
    return asked_for


@pytest.fixture(scope="session")
def row():
    """One state that the schema allows; its first feature can be chosen."""
    return state


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory):
    """Untrained nets of both arms, and an imported arm that answers NaN where feature 0 is -1."""
    import torch

    from arms.torch_export import export
    from arms.torch_nets import DecisionNet

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("artefacts")
    for seed, arm in enumerate(("base", "transformer")):
        torch.manual_seed(seed)
        preset = preset_of(arm, "fast")
        net = DecisionNet(preset, WIDTH).eval()
        export(net, preset, arm, MARKET_V1, Trained(seed=seed), root / arm)
    import_onnx(_sometimes_nan(root / "odd.onnx"), root / "odd", "transformer", 1, MARKET_V1, "probs")
    return root


def _sometimes_nan(path: Path) -> Path:
    """probs = (0.2, 0.5, 0.3) + 0 * x / (x + 1)."""
    nodes = [
        helper.make_node("Gather", ["history", "zero"], ["features"], axis=1),
        helper.make_node("Gather", ["features", "zero"], ["scalar"], axis=1),
        helper.make_node("Unsqueeze", ["scalar", "one"], ["x"]),
        helper.make_node("Mul", ["x", "naught"], ["nothing"]),
        helper.make_node("Add", ["x", "unit"], ["below"]),
        helper.make_node("Div", ["nothing", "below"], ["odd"]),
        helper.make_node("Add", ["odd", "fixed"], ["probs"]),
    ]
    values = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("naught", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("unit", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("fixed", TensorProto.FLOAT, [1, 3], [0.2, 0.5, 0.3]),
    ]
    history = helper.make_tensor_value_info("history", TensorProto.FLOAT, ["n", 1, WIDTH])
    probs = helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "odd", [history], [probs], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def start_node(tmp_path, artefacts, valkey_url):
    """Starts workers; all end with the test. The same `name` is the same data directory and database."""
    with ExitStack() as stack:

        def make(name="node", arms=("base", "transformer"), sql_url=None, redis_url=None, **settings):
            data_dir = DataDir(tmp_path / name).prepare()
            engine = opened(sql_url or f"sqlite:///{data_dir.database}")
            for arm in arms:
                promote(engine, arm, artefacts / arm)
            return stack.enter_context(serving(data_dir, engine, redis_url or valkey_url, **settings))

        yield make


@pytest.fixture(scope="module")
def node(tmp_path_factory, artefacts, valkey_url):
    """One worker that a module's tests share; give every test units of its own."""
    with standing(tmp_path_factory.mktemp("shared-node"), artefacts, valkey_url) as found:
        yield found


class Clock:
    """Stands still unless told otherwise."""

    def __init__(self, now_us):
        self.now_us = now_us

    def __call__(self):
        return self.now_us

    def after(self, seconds=0.0, *, days=0.0):
        self.now_us += round((seconds + 86_400 * days) * 1e6)


@pytest.fixture
def clock():
    """Begins now."""
    return Clock(wall_clock_us())


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/abctl.db"
    return request.getfixturevalue("fresh_postgres_url")


@pytest.fixture
def migrated(sql_url):
    """Its tables, and nothing in them."""
    engine = open_engine(sql_url)
    schema.upgrade(engine)
    yield engine
    engine.dispose()
