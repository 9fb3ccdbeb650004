"""One contract for both ways to the facts: through a running service, and directly on SQL."""

from itertools import count

import pytest

from cli import failures, gateway
from cli.settings import read_settings
from router.question import Question

KEYS = (f"contract-{n}" for n in count())


@pytest.fixture(params=["service", "sqlite", "postgres"])
def facts(request, tmp_path):
    """A gateway; the running service is shared, the databases are fresh."""
    if request.param == "service":
        settings = read_settings(url=request.getfixturevalue("service").url)
    else:
        given = {"data_dir": tmp_path / "data"}
        if request.param == "postgres":
            given["database_url"] = request.getfixturevalue("fresh_postgres_url")
        settings = read_settings(**given)
    with gateway.gateway(settings) as opened:
        yield opened


@pytest.fixture
def key(facts):
    """A fresh experiment of three arms."""
    name = next(KEYS)
    facts.put_experiment({"key": name, "arms": ["base", "transformer", "mine"], "control": "base"})
    return name


def code_of(error):
    return failures.exit_code_of(error.value)


class TestGateway:
    def test_main_is_there_from_the_start(self, facts, key):
        assert "main" in [e["key"] for e in facts.experiments()]

    def test_a_new_experiment_is_all_control(self, facts, key):
        split = facts.split(key)
        assert split["version"] == 1
        assert split["weights"] == {"base": 1.0, "transformer": 0.0, "mine": 0.0}

    def test_a_share_trades_with_the_control_only(self, facts, key):
        facts.set_share(key, "mine", "0.25", "")
        split = facts.set_share(key, "transformer", "0.1", "start small")
        assert split["weights"] == {"base": 0.65, "transformer": 0.1, "mine": 0.25}
        assert (split["version"], split["reason"], split["changed"]) == (3, "start small", True)
        assert split.items() >= facts.split(key).items()

    def test_a_share_that_an_arm_has_already_makes_no_version(self, facts, key):
        facts.set_share(key, "transformer", "0.1", "start small")
        for share in ("0.1", "1e-1"):
            again = facts.set_share(key, "transformer", share, "once more")
            assert (again["version"], again["reason"], again["changed"]) == (2, "start small", False)
        assert facts.set_share(key, "mine", "0", "")["version"] == 2
        assert [split["version"] for split in facts.split_history(key)] == [1, 2]

    def test_arms_without_a_model_are_told_and_allowed(self, facts, key):
        """Bots may carry them, and ask /v1/assign alone. What ships has a model from the first start on."""
        anew = {"key": key, "arms": ["base", "transformer", "mine"], "control": "base"}
        (named,) = facts.put_experiment(anew)["warnings"]
        assert named.startswith("arm mine has no model yet")
        (warned,) = facts.set_share(key, "mine", "0.25", "")["warnings"]
        assert "arm mine has 25% of the units and no model" in warned
        assert "`abctl model import FILE --arm mine`" in warned
        assert "/v1/assign" in warned
        assert facts.set_share(key, "transformer", "0.1", "")["warnings"] == [warned]
        assert facts.set_share(key, "mine", "0", "")["warnings"] == []
        assert facts.restore(key, 2, "")["warnings"] == [warned]

    def test_the_split_of_an_archived_experiment_stays(self, facts, key):
        facts.set_share(key, "transformer", "0.1", "")
        facts.archive(key)
        for change in (
            lambda: facts.set_share(key, "transformer", "0.5", ""),
            lambda: facts.set_share(key, "transformer", "0.1", ""),
            lambda: facts.restore(key, 1, ""),
        ):
            with pytest.raises(Exception, match="is archived, so its split stays as it is") as error:
                change()
            assert code_of(error) == failures.CONFLICT
        assert len(facts.split_history(key)) == 2

    def test_history_tells_every_version_with_its_actor(self, facts, key, monkeypatch):
        monkeypatch.setenv("ABCTL_ACTOR", "ada")
        facts.set_share(key, "mine", "0.5", "why not")
        told = facts.split_history(key)
        assert [split["version"] for split in told] == [1, 2]
        assert (told[1]["actor"], told[1]["reason"]) == ("ada", "why not")

    def test_restore_is_verbatim(self, facts, key):
        first = facts.set_share(key, "mine", "0.3", "")
        facts.set_share(key, "mine", "0.6", "")
        restored = facts.restore(key, 2, "back")
        assert restored["ranges"] == first["ranges"]
        assert restored["restored_from"] == 2

    def test_shares_are_exact(self, facts, key):
        assert facts.set_share(key, "mine", "0.000001", "")["weights"]["mine"] == 1e-6
        with pytest.raises(Exception, match=r"multiple of 0\.000001") as error:
            facts.set_share(key, "mine", "0.0000001", "")
        assert code_of(error) == failures.REFUSED

    @pytest.mark.parametrize(
        ("ask", "code"),
        [
            (lambda f, key: f.split("nope"), failures.NOT_FOUND),
            (lambda f, key: f.report(Question(key="nope")), failures.NOT_FOUND),
            (lambda f, key: f.archive("nope"), failures.NOT_FOUND),
            (lambda f, key: f.set_share(key, "nobody", "0.1", ""), failures.NOT_FOUND),
            (lambda f, key: f.restore(key, 9, ""), failures.NOT_FOUND),
            (lambda f, key: f.set_share(key, "mine", "2", ""), failures.REFUSED),
            (lambda f, key: f.set_share(key, "base", "0.5", ""), failures.REFUSED),
            (lambda f, key: f.put_experiment({"key": "Bad Key"}), failures.REFUSED),
            (lambda f, key: f.put_experiment({}), failures.REFUSED),
            (
                lambda f, key: f.put_experiment({"key": key, "arms": ["a", "b"], "control": "c"}),
                failures.REFUSED,
            ),
        ],
    )
    def test_both_refuse_the_same_with_the_same_code(self, facts, key, ask, code):
        with pytest.raises(Exception) as error:  # noqa: PT011 - its kind differs, its exit code must not
            ask(facts, key)
        assert code_of(error) == code
        assert "\n" not in failures.sentence_of(error.value)

    def test_reports_have_one_shape(self, facts, key):
        report = facts.report(Question(key=key))
        assert report["verdict"]["verdict"] == "cannot say yet"
        assert set(report["arms"]) == {"base", "transformer", "mine"}
        assert {"effect", "pnl_effect", "srm", "naive", "stages", "excluded", "window", "warnings"} <= set(
            report
        )

    def test_an_archived_experiment_says_so(self, facts, key):
        facts.archive(key)
        found = next(e for e in facts.experiments() if e["key"] == key)
        assert found["archived_at_us"] is not None

    def test_an_unused_experiment_may_be_defined_anew(self, facts, key):
        anew = facts.put_experiment({"key": key, "arms": ["base", "transformer"], "control": "transformer"})
        assert (anew["arms"], anew["control"]) == (["base", "transformer"], "transformer")


class TestNothingYet:
    """A directory without a database: looking makes nothing, nor does a change that is refused."""

    @pytest.mark.parametrize(
        ("ask", "code", "said"),
        [
            (lambda f: f.split("main"), failures.NOT_FOUND, "nothing here yet: no database in"),
            (lambda f: f.split_history("main"), failures.NOT_FOUND, "abctl split set"),
            (lambda f: f.report(Question(key="main")), failures.NOT_FOUND, "abctl serve"),
            (lambda f: f.archive("main"), failures.NOT_FOUND, "nothing here yet"),
            (lambda f: f.report(Question(key="nope")), failures.NOT_FOUND, "abctl experiment list"),
            (lambda f: f.set_share("nope", "transformer", "0.1", ""), failures.NOT_FOUND, "nope"),
            (lambda f: f.set_share("main", "nope", "0.1", ""), failures.NOT_FOUND, "must be one of base"),
            (lambda f: f.set_share("main", "base", "0.1", ""), failures.REFUSED, "set transformer instead"),
            (lambda f: f.set_share("main", "transformer", "1.5", ""), failures.REFUSED, "write 10% as 0.1"),
            (lambda f: f.restore("main", 2, ""), failures.NOT_FOUND, "abctl split history"),
            (lambda f: f.put_experiment({"key": "Bad Key"}), failures.REFUSED, "arms"),
        ],
    )
    def test_what_fails_makes_nothing(self, tmp_path, ask, code, said):
        settings = read_settings(data_dir=tmp_path / "typo")
        with gateway.gateway(settings) as facts, pytest.raises(Exception, match=said) as error:
            ask(facts)
        assert code_of(error) == code
        assert list(tmp_path.iterdir()) == []

    def test_there_are_no_experiments(self, tmp_path):
        with gateway.gateway(read_settings(data_dir=tmp_path / "typo")) as facts:
            assert facts.experiments() == []
        assert list(tmp_path.iterdir()) == []

    def test_the_first_change_makes_it(self, tmp_path):
        with gateway.gateway(read_settings(data_dir=tmp_path / "new")) as facts:
            assert facts.set_share("main", "transformer", "0.1", "")["version"] == 2
            assert facts.split("main")["weights"] == {"base": 0.9, "transformer": 0.1}
            assert "no service runs here" in facts.where
        assert (tmp_path / "new" / "abctl.db").is_file()
