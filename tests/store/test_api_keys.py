"""Keys in SQL: digests only, names for good, every change in the audit; what SQL misses comes later."""

import json
import secrets
import stat
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from store import api_keys, late_audit, revocations
from store.data_dir import DataDir
from store.errors import BadKey, KeyTaken, UnknownKey
from store.late_audit import Note, note
from store.pepper import pepper_of
from store.revocations import Revocation, announce, announced
from store.sql import open_engine
from store.tokens import TOKEN_CHARACTERS, digest_of, id_of, pepper_id, token_of

PEPPER = b"p" * 32


def made(name="bot", token=None, **fields):
    token = token or token_of(secrets.token_bytes(40))
    facts = {
        "id": id_of(token.encode()).decode(),
        "name": name,
        "scopes": ("decide", "record"),
        "experiment": None,
        "pepper": pepper_id(PEPPER),
        "digest": digest_of(PEPPER, token.encode()),
        "created_at_us": 5,
        "created_by": "ana",
    }
    return api_keys.ApiKey(**(facts | fields))


def every(engine):
    with engine.connect() as connection:
        return api_keys.every(connection)


def audit(make, engine):
    rows = make.rows(engine, "SELECT at_us, actor, action, experiment, detail FROM audit ORDER BY id")
    return [{**row, "detail": json.loads(row["detail"])} for row in rows]


@pytest.fixture
def place(tmp_path):
    return DataDir(tmp_path / "data").prepare()


class TestTokens:
    def test_they_hold_256_random_bits_and_an_id(self):
        random = bytes(range(40))
        token = token_of(random)
        assert token == f"abctl_{random[:8].hex()}_{random[8:].hex()}"
        assert len(token) == TOKEN_CHARACTERS
        assert id_of(token.encode()) == random[:8].hex().encode()
        with pytest.raises(ValueError, match="40"):
            token_of(b"short")

    def test_the_digest_needs_the_pepper(self):
        token = token_of(secrets.token_bytes(40)).encode()
        assert digest_of(PEPPER, token) == digest_of(PEPPER, token)
        assert digest_of(PEPPER, token) != digest_of(b"q" * 32, token)
        assert digest_of(PEPPER, token) != digest_of(PEPPER, token[:-1] + b"x")
        assert len(digest_of(PEPPER, token)) == 32


class TestPepper:
    def test_a_data_directory_makes_one_for_its_owner_alone(self, place):
        first = pepper_of("", place)
        assert pepper_of("", place) == first != pepper_of("", DataDir(place.root / "other").prepare())
        assert stat.S_IMODE((place.root / "pepper").stat().st_mode) == 0o600

    def test_the_setting_wins_and_makes_no_file(self, place):
        assert pepper_of("s" * 32, place) == pepper_of("s" * 32, DataDir(place.root / "nowhere"))
        assert not (place.root / "pepper").exists()

    @pytest.mark.parametrize("left", [b"", b"\n", b"a" * 31, b"\xff"])
    def test_a_file_that_was_cut_is_refused_and_kept(self, place, left):
        """An empty pepper is one that everybody knows."""
        (place.root / "pepper").write_bytes(left)
        with pytest.raises(BadKey, match="32 characters"):
            pepper_of("", place)
        assert (place.root / "pepper").read_bytes() == left

    def test_many_at_once_make_one(self, place):
        found = []
        threads = [threading.Thread(target=lambda: found.append(pepper_of("", place))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert [path.name for path in place.root.glob("pepper*")] == ["pepper"]


class TestKeys:
    def test_what_is_made_is_found_and_no_secret_is_kept(self, engine, make):
        token = token_of(secrets.token_bytes(40))
        key = made(token=token, experiment="main")
        api_keys.create(engine, key)
        assert every(engine) == (key,)
        secret = token.rpartition("_")[2]
        with engine.connect() as connection:
            for table in ("apikey", "audit"):
                for row in connection.execute(text(f"SELECT * FROM {table}")):
                    assert secret not in repr(tuple(row))
                    assert bytes.fromhex(secret) not in [v for v in row if isinstance(v, bytes)]

    def test_a_name_is_used_once_even_after_its_end(self, engine):
        api_keys.create(engine, made())
        with pytest.raises(KeyTaken, match="choose another"):
            api_keys.create(engine, made())
        api_keys.revoke(engine, "bot", 9, "ben", "")
        with pytest.raises(KeyTaken):
            api_keys.create(engine, made())

    def test_a_revoked_key_stays_listed_with_who_and_when(self, engine):
        api_keys.create(engine, made())
        assert api_keys.revoke(engine, "bot", 9, "ben", "lost") == 9
        assert api_keys.revoke(engine, "bot", 11, "cid", "again") == 9
        (key,) = every(engine)
        assert (key.revoked_at_us, key.revoked_by) == (9, "ben")
        with pytest.raises(UnknownKey, match="abctl key list"):
            api_keys.revoke(engine, "nobody", 9, "ben", "")

    def test_every_change_is_in_the_audit_once(self, engine, make):
        key = made(experiment="main")
        api_keys.create(engine, key)
        for at_us in (9, 11):
            api_keys.revoke(engine, "bot", at_us, "ben", "lost")
        made_row, ended = audit(make, engine)
        assert made_row == {
            "at_us": 5,
            "actor": "ana",
            "action": "key.create",
            "experiment": "main",
            "detail": {"name": "bot", "id": key.id, "scopes": ["decide", "record"]},
        }
        assert (ended["action"], ended["actor"], ended["at_us"]) == ("key.revoke", "ben", 9)
        assert ended["detail"] == {"name": "bot", "reason": "lost"}

    @pytest.mark.parametrize("name", ["", "A", "a b", "../a", "a/b", "a.b", "-a", "a\n", "x" * 64, "é"])
    def test_names_can_stand_anywhere(self, name):
        with pytest.raises(BadKey, match="a-z"):
            api_keys.checked_name(name)

    def test_scopes_are_known_and_in_order(self):
        assert api_keys.checked_scopes(["admin", "decide", "decide"]) == ("decide", "admin")
        for wrong in ([], ["root"], ["decide", "x"]):
            with pytest.raises(BadKey, match="decide, record, report, admin"):
                api_keys.checked_scopes(wrong)


class TestRevocations:
    def test_they_hold_before_sql_knows_and_are_settled_once(self, engine, place, make):
        api_keys.create(engine, made())
        announce(place, Revocation("bot", 7, "ben", "lost"))
        assert announced(place) == {"bot"}
        assert revocations.settle(place, engine) == []
        assert announced(place) == frozenset()
        assert every(engine)[0].revoked_by == "ben"
        assert revocations.settle(place, engine) == []
        assert [row["action"] for row in audit(make, engine)] == ["key.create", "key.revoke"]

    def test_they_wait_while_sql_is_away(self, engine, place, tmp_path):
        api_keys.create(engine, made())
        announce(place, Revocation("bot", 7, "ben", "lost"))
        nowhere = open_engine(f"sqlite:///{tmp_path}/no/such/folder.db")
        with pytest.raises(SQLAlchemyError):
            revocations.settle(place, nowhere)
        assert announced(place) == {"bot"}
        revocations.settle(place, engine)
        assert every(engine)[0].revoked_at_us == 7

    def test_a_name_that_no_key_has_is_told_and_dropped(self, engine, place):
        announce(place, Revocation("typo", 7, "ben", ""))
        assert revocations.settle(place, engine) == ["typo"]
        assert announced(place) == frozenset()

    def test_an_empty_file_revokes(self, engine, place):
        api_keys.create(engine, made())
        (place.root / "revoked").mkdir()
        (place.root / "revoked" / "bot.json").touch()
        assert announced(place) == {"bot"}
        assert revocations.settle(place, engine) == []
        assert every(engine)[0].revoked_by == "a file"

    def test_a_copy_of_another_file_revokes_the_key_it_is_named_for(self, engine, place):
        api_keys.create(engine, made())
        announce(place, Revocation("other", 7, "ben", "lost"))
        folder = place.root / "revoked"
        (folder / "bot.json").write_bytes((folder / "other.json").read_bytes())
        assert revocations.settle(place, engine) == ["other"]
        assert every(engine)[0].revoked_by == "a file"

    def test_no_name_leads_out_of_the_folder(self, place):
        with pytest.raises(BadKey):
            announce(place, Revocation("../KILL", 1, "eve", ""))
        assert not (place.root / "revoked").exists()


class TestLateAudit:
    def row(self, n=1):
        return Note(n, "ben", "arm.killed", "main", '{"arm":"base"}')

    def test_rows_reach_sql_once_in_order(self, engine, place, make):
        for n in (3, 1, 2):
            note(place, self.row(n))
        assert late_audit.settle(place, engine) == 3
        assert [row["at_us"] for row in audit(make, engine)] == [1, 2, 3]
        assert late_audit.settle(place, engine) == 0

    def test_they_wait_while_sql_is_away(self, engine, place, make, tmp_path):
        note(place, self.row())
        with pytest.raises(SQLAlchemyError):
            late_audit.settle(place, open_engine(f"sqlite:///{tmp_path}/no/such/folder.db"))
        assert late_audit.settle(place, engine) == 1
        assert [row["action"] for row in audit(make, engine)] == ["arm.killed"]

    def test_a_death_between_commit_and_unlink_makes_no_second_row(self, engine, place, make):
        note(place, self.row())
        (file,) = (place.root / "audit").glob("*.json")
        content = file.read_bytes()
        late_audit.settle(place, engine)
        file.write_bytes(content)
        late_audit.settle(place, engine)
        assert len(audit(make, engine)) == 1
        assert not file.exists()

    def test_a_file_that_is_no_row_is_kept_aside_and_blocks_nothing(self, engine, place, make):
        for n in (1, 3):
            note(place, self.row(n))
        broken = place.root / "audit" / f"{2:020d}-x.json"
        broken.write_bytes(b"\xff{")
        assert late_audit.settle(place, engine) == 2
        assert [row["at_us"] for row in audit(make, engine)] == [1, 3]
        assert broken.with_suffix(".unreadable").read_bytes() == b"\xff{"
        assert late_audit.settle(place, engine) == 0

    def test_two_processes_at_once_make_no_second_row(self, sql_url, place, make):
        for n in range(20):
            note(place, self.row(n))
        engines = [open_engine(sql_url) for _ in range(4)]
        threads = [threading.Thread(target=late_audit.settle, args=(place, e)) for e in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late_audit.settle(place, engines[0])
        assert [row["at_us"] for row in audit(make, engines[0])] == list(range(20))
        for engine in engines:
            engine.dispose()

    def test_files_are_for_their_owner_alone(self, place):
        note(place, self.row())
        folder = place.root / "audit"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.json")} == {0o600}
