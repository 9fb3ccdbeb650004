"""`abctl key`, and a service that asks for keys: made, used, revoked, and never shown twice."""

import http.server
import json
import re
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from abctl_client import client as abctl_client
from abctl_client.errors import AbctlError

from cli.failures import CONFLICT, NOT_FOUND, OK, REFUSED, UNAVAILABLE, USAGE
from cli.own_service import OwnService

KEY = re.compile(r"abctl_[0-9a-f]{16}_[0-9a-f]{64}")


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """A running service of this test's own with one administrator's key."""
    service = OwnService(tmp_path / "data", {"ABCTL_SPLIT_LEAD_S": "1.1"})
    service.start()
    monkeypatch.setenv("ABCTL_DATA_DIR", str(service.data_dir))
    yield service
    service.stop()


def create(abctl, name, *words):
    made = abctl("key", "create", name, *words)
    assert made.code == OK, made.err
    assert KEY.fullmatch(made.out.strip())
    return made.out.strip()


class TestKeyCommands:
    def test_a_key_is_shown_once(self, abctl):
        token = create(abctl, "bot", "--scope", "decide", "--scope", "record")
        listed = abctl("key", "list")
        assert "decide record" in listed.out
        for told in (listed, abctl("key", "list", "--json"), abctl("status")):
            assert token not in told.out + told.err
            assert token[23:] not in told.out + told.err
        assert token[23:].encode() not in b"".join(
            p.read_bytes() for p in Path(".abctl").iterdir() if p.is_file()
        )

    def test_json(self, abctl):
        made = json.loads(abctl("key", "create", "bot", "--scope", "report", "--json").out)
        assert KEY.fullmatch(made["key"])
        (listed,) = json.loads(abctl("key", "list", "--json").out)
        assert "key" not in listed
        assert listed == {name: value for name, value in made.items() if name != "key"}
        assert json.loads(abctl("key", "revoke", "bot", "--json").out)["changed"] is True
        assert json.loads(abctl("key", "revoke", "bot", "--json").out)["changed"] is False
        assert json.loads(abctl("key", "list", "--json").out)[0]["revoked_at_us"] > 0

    @pytest.mark.parametrize(("words", "code", "said"), [
        (("create", "A B", "--scope", "decide"), REFUSED, "a-z"),
        (("create", "../x", "--scope", "decide"), REFUSED, "a-z"),
        (("create", "bot", "--scope", "root"), REFUSED, "decide, record, report, admin"),
        (("create", "bot", "--scope", "decide", "--experiment", "nope"), NOT_FOUND, "nope"),
        (("create", "taken", "--scope", "decide"), CONFLICT, "choose another"),
        (("revoke", "nobody"), NOT_FOUND, "abctl key list"),
        (("revoke", "../../x"), REFUSED, "a-z"),
    ])  # fmt: skip
    def test_what_cannot_be_is_refused_with_the_rule(self, abctl, words, code, said):
        create(abctl, "taken", "--scope", "decide")
        told = abctl("key", *words)
        assert told.code == code
        assert said in told.sentence

    def test_a_key_needs_a_scope(self, abctl):
        assert abctl("key", "create", "bot").code == USAGE

    def test_the_pepper_is_the_owners_alone_and_two_peppers_do_not_mix(self, abctl, monkeypatch):
        create(abctl, "bot", "--scope", "decide")
        assert stat.S_IMODE(Path(".abctl/pepper").stat().st_mode) == 0o600
        monkeypatch.setenv("ABCTL_KEY_PEPPER", "another pepper, long enough to be one")
        told = abctl("key", "create", "other", "--scope", "decide")
        assert told.code == REFUSED
        assert "ABCTL_KEY_PEPPER" in told.sentence
        monkeypatch.setenv("ABCTL_KEY_PEPPER", "short")
        refused = abctl("key", "list")
        assert refused.code == REFUSED
        assert "32 characters" in refused.sentence

    def test_without_sql_a_revocation_holds_here_and_says_what_it_does_not_do(self, abctl, monkeypatch):
        create(abctl, "bot", "--scope", "decide")
        monkeypatch.setenv("ABCTL_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
        told = abctl("key", "revoke", "bot", "--reason", "lost")
        assert told.code == UNAVAILABLE
        assert "on this node alone" in told.sentence
        assert "hunter2" not in told.err
        assert [p.name for p in Path(".abctl/revoked").glob("*.json")] == ["bot.json"]
        monkeypatch.delenv("ABCTL_DATABASE_URL")
        assert abctl("split", "set", "transformer", "0.1", "--no-wait").code == OK
        assert json.loads(abctl("key", "list", "--json").out)[0]["revoked_at_us"] > 0
        assert list(Path(".abctl/revoked").glob("*.json")) == []


class TestEntrance:
    def test_a_host_that_others_reach_is_refused_without_keys(self, abctl):
        told = abctl("serve", "--host", "0.0.0.0", "--port", "0")
        assert told.code == REFUSED
        last = told.err.strip().splitlines()[-1]
        assert "abctl key create ops --scope admin" in last
        assert "0.0.0.0 can be reached from elsewhere" in last

    def test_with_a_key_it_is_not_refused_and_with_a_revoked_one_it_is(self, abctl):
        from cli.entrance import checked
        from cli.failures import Refused
        from cli.gateway import opened_engine
        from cli.settings import read_settings
        from store.pepper import pepper_of

        create(abctl, "bot", "--scope", "decide")
        settings = read_settings()
        engine, pepper = opened_engine(settings), pepper_of("", settings.place)
        with socket.socket() as anywhere:
            anywhere.bind(("0.0.0.0", 0))  # never listens
            assert checked(anywhere, engine, pepper) == ""
            with pytest.raises(Refused, match="ABCTL_KEY_PEPPER"):
                checked(anywhere, engine, b"another pepper".ljust(32))
            abctl("key", "revoke", "bot")
            with pytest.raises(Refused, match="make one first"):
                checked(anywhere, engine, pepper)
        engine.dispose()

    def test_an_open_service_says_so_loudly(self, abctl, guarded):
        assert "OPEN: there are no API keys" in guarded.log.read_text()
        assert "OPEN: there are no API keys" in " ".join(abctl("status").out.split())
        assert json.loads(abctl("status", "--json").out)["keys"]["open"] is True
        create(abctl, "ops", "--scope", "admin")
        assert "keys      1 in force, 0 revoked" in abctl("status").out
        assert json.loads(abctl("status", "--json").out)["keys"]["open"] is False


def audited(database, action):
    """(actor, reason) of the audit's rows of one action."""
    with closing(sqlite3.connect(database)) as file:
        rows = file.execute("SELECT actor, detail FROM audit WHERE action = ? ORDER BY id", [action])
        return [(actor, json.loads(detail)["reason"]) for actor, detail in rows]


def in_force(abctl, code, *words):
    """What a command says once the service asks for keys as it should; at most a second after the change."""
    give_up_at = time.monotonic() + 1.0
    while (told := abctl(*words)).code != code:
        assert time.monotonic() < give_up_at, told
    return told


class TestWithAService:
    def test_commands_send_the_key_and_the_audit_names_it(self, abctl, guarded, monkeypatch):
        token = create(abctl, "ops", "--scope", "admin")
        refused = in_force(abctl, REFUSED, "split", "set", "transformer", "0.1", "--no-wait")
        assert "ABCTL_API_KEY" in refused.sentence
        monkeypatch.setenv("ABCTL_API_KEY", token)
        monkeypatch.setenv("ABCTL_ACTOR", "ana")
        done = abctl("split", "set", "transformer", "0.2", "--no-wait", "--json")
        assert (done.code, json.loads(done.out)["actor"]) == (OK, "ops/ana")
        assert abctl("report").code == OK
        abctl("key", "revoke", "ops")
        assert "revoked" in in_force(abctl, REFUSED, "split", "show").sentence

    def test_a_kill_needs_no_key_beside_its_data_directory(self, abctl, guarded, monkeypatch):
        monkeypatch.setenv("ABCTL_ACTOR", "ana")
        create(abctl, "ops", "--scope", "admin")
        in_force(abctl, REFUSED, "split", "show")
        assert abctl("split", "kill", "transformer", "--reason", "wrong").code == OK
        assert json.loads(abctl("status", "--json").out)["killed"] == ["main/transformer"]
        give_up_at = time.monotonic() + 5
        while (kept := audited(guarded.data_dir / "abctl.db", "arm.killed")) != [("ana", "wrong")]:
            assert time.monotonic() < give_up_at, kept
            time.sleep(0.05)

    def test_a_kill_without_a_service_is_audited_by_the_next_change(self, abctl, monkeypatch):
        monkeypatch.setenv("ABCTL_ACTOR", "ana")
        create(abctl, "ops", "--scope", "admin")
        for command in ("kill", "lift"):
            assert abctl("split", command, "transformer", "--reason", command).code == OK
        assert abctl("split", "set", "transformer", "0.1", "--no-wait").code == OK
        database = Path(".abctl/abctl.db")
        assert audited(database, "arm.killed") + audited(database, "arm.lifted") == [
            ("ana", "kill"),
            ("ana", "lift"),
        ]

    def test_no_secret_is_in_logs_arguments_or_answers(self, abctl, guarded, monkeypatch):
        token = create(abctl, "ops", "--scope", "admin")
        monkeypatch.setenv("ABCTL_API_KEY", token)
        in_force(abctl, OK, "split", "show")
        pepper = (guarded.data_dir / "pepper").read_text().strip()
        told = [abctl(*words) for words in (("status",), ("doctor",), ("key", "list"), ("split", "history"))]
        said = "".join(t.out + t.err for t in told) + guarded.log.read_text() + command_lines()
        for secret in (token, token[23:], pepper):
            assert secret not in said

    def test_the_client_sends_it_and_follows_nobody(self, abctl, guarded, monkeypatch):
        import asyncio

        token = create(abctl, "bot", "--scope", "decide")
        in_force(abctl, REFUSED, "split", "show")

        async def decide(url, **options):
            async with abctl_client.Client(url, **options) as client:
                return await client.decide("u", [[0.1] * 18])

        with pytest.raises(AbctlError) as refused:
            asyncio.run(decide(guarded.url))
        assert (refused.value.status, refused.value.code) == (401, "unauthorized")
        assert asyncio.run(decide(guarded.url, api_key=token)).arm == "base"
        monkeypatch.setenv("ABCTL_API_KEY", token)
        assert asyncio.run(decide(guarded.url)).arm == "base"
        with pytest.raises(AbctlError):
            asyncio.run(decide(guarded.url, api_key=""))
        with redirecting() as (url, seen), pytest.raises(AbctlError) as refused:
            asyncio.run(decide(url))
        assert refused.value.status == 307
        assert seen == ["/v1/decide"]

    def test_commands_follow_nobody_with_the_key(self, abctl, monkeypatch):
        monkeypatch.setenv("ABCTL_API_KEY", "abctl_word")
        with redirecting() as (url, seen):
            told = abctl("split", "show", "--url", url)
        assert told.code != OK
        assert seen == ["/v1/experiments/main/split"]


def test_a_key_that_no_header_can_carry_is_refused_unseen(abctl, monkeypatch):
    with pytest.raises(ValueError, match="one word") as refused:
        abctl_client.Client("http://127.0.0.1:1", api_key="secret\nX-Evil: 1")
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("ABCTL_API_KEY", "secret word")
    told = abctl("status")
    assert told.code == REFUSED
    assert "secret" not in told.err


def test_settings_do_not_show_secrets():
    from cli.settings import Settings

    shown = repr(
        Settings(
            api_key="k1", key_pepper="p" * 32, database_url="postgresql://u:d1@h/x", redis_url="redis://:r1@h"
        )
    )
    assert not [secret for secret in ("k1", "pppp", "d1", "r1") if secret in shown]


@pytest.mark.parametrize("words", [
    ("status",), ("doctor",), ("report",), ("split", "show"), ("db", "upgrade"), ("serve", "--port", "0"),
    ("key", "list"), ("model", "list"),
])  # fmt: skip
@pytest.mark.parametrize("url", [
    "postgresql://ana:hunter2@127.0.0.1:1/x", "postgresql://ana:hunter2@/x?port=1", "mysql://ana:hunter2@h/x",
    "ana:hunter2@h/x", "postgresql://ana@h:1/x?password=hunter2",
])  # fmt: skip
def test_no_password_of_a_database_is_told(abctl, monkeypatch, words, url):
    monkeypatch.setenv("ABCTL_DATABASE_URL", url)
    told = abctl(*words)
    assert "hunter2" not in told.out + told.err
    assert told.code != OK


def test_no_password_of_redis_is_told(abctl, monkeypatch):
    for url in ("redis://ana:hunter2@127.0.0.1:1/0", "redis://127.0.0.1:1/0?password=hunter2"):
        monkeypatch.setenv("ABCTL_REDIS_URL", url)
        for words in (("doctor",), ("status",)):
            told = abctl(*words)
            assert "hunter2" not in told.out + told.err


def command_lines():
    """What every process here was started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    if found:
        return "\n".join(found)
    return subprocess.run(["ps", "-axww", "-o", "command"], capture_output=True, text=True, check=True).stdout


class redirecting:  # noqa: N801
    """A server that is not ours, and sends everybody on to itself; `seen`: what it was asked."""

    def __enter__(self):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.path)
                self.send_response(307)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}", seen

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
