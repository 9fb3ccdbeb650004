"""What the documents show works: shell blocks run, commands and settings are explained, links lead somewhere.

A document's blocks run in order in one shell, in a scratch directory, against a real service of their own. A
request that is refused fails the page.
Nothing is left out in silence: a line that is not run here is named in ELSEWHERE, with the test that runs it.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from cli.main import app
from cli.own_service import OwnService
from cli.settings import BESIDE_SETTINGS, PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / folder / "README.md" for folder in (".", "client", "deploy")]
PAGES = sorted([*READMES, *(ROOT / "docs").glob("*.md")])
SHELL = {"bash", "sh", "shell", "console"}
PYTHON_RUNS_IN = {"README.md", "client/README.md", "docs/guide.md", "docs/strategies.md"}
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE_TIMEOUT_S = 150.0

# A line that begins so is not run here, but by the test that is named.
ELSEWHERE = {
    "make demo": "tests/loop/test_loop_demo.py::test_with_its_defaults_and_then_again",
    ".venv/bin/abctl serve": "tests/loop/test_loop_starting.py::test_ready_soon_and_ended_by_ctrl_c",
    "abctl serve": "tests/loop/test_loop_starting.py::test_ready_soon_and_ended_by_ctrl_c",
    "docker compose up": "tests/loop/test_topology.py::test_two_services_behind_haproxy",
    "haproxy -f deploy/haproxy.cfg": "tests/loop/test_topology.py::test_two_services_behind_haproxy",
}
# What a reader replaces by an own value is replaced by the test's.
DATABASE_URL = re.compile(r"postgresql(?:\+psycopg)?://abctl:secret@[\w.:]+/abctl")
REDIS_URL = re.compile(r"redis://(?:127\.0\.0\.1|cache):6379/0")
# A command in a container of a service runs without the container: `abctl` is here, too.
IN_CONTAINER = re.compile(r"^docker compose run(?: --\w+)* (?P<service>\w+) (?=abctl )", re.MULTILINE)
SERVICE_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost):8711")


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    kind: str
    code: str


def name_of(path):
    """A page of the repository by its path there."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def blocks_of(path):
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield Block(name_of(path), text.count("\n", 0, found.start()) + 1, found["kind"], found["code"])


def runnable(path):
    """The blocks of a page that must run, in order."""
    kinds = SHELL | ({"python"} if name_of(path) in PYTHON_RUNS_IN else set())
    return [block for block in blocks_of(path) if block.kind in kinds]


def reduced(code):
    """The code without the lines that run elsewhere."""
    return "\n".join(line for line in code.splitlines() if elsewhere(line) is None)


def elsewhere(line):
    command = line.removeprefix("$ ").strip()
    return next(
        (place for start, place in ELSEWHERE.items() if re.match(rf"{re.escape(start)}\b", command)), None
    )


def with_shared_data(code, shared_dir):
    return code.replace("../shared/", f"{shared_dir}/")


@pytest.fixture
def scratch(tmp_path, shared_dir):
    """A reader's directory, a service of its own, and the environment of a reader who has activated .venv."""
    service = OwnService(tmp_path / ".abctl", {"ABCTL_SPLIT_LEAD_S": "1.1"})
    service.start()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    bins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield (
        folder,
        service,
        inherited | {"PATH": bins, "ABCTL_DATA_DIR": str(service.data_dir), "ABCTL_ACTOR": "docs"},
    )
    service.stop()


def servers_of(code, request):
    """Real servers in the place of the reader's."""
    if DATABASE_URL.search(code):
        code = DATABASE_URL.sub(request.getfixturevalue("fresh_postgres_url"), code)
    if REDIS_URL.search(code):
        code = REDIS_URL.sub(request.getfixturevalue("fresh_valkey_url"), code)
    return code


def script_of(page):
    """The whole page as a reader types it into one terminal; a mark on stderr says which block comes."""
    parts = ["set -euo pipefail", 'curl() { command curl --fail-with-body "$@"; }']
    for block in runnable(page):
        parts.append(f"echo '@@ {block.page}:{block.line}' >&2")
        parts.append(
            IN_CONTAINER.sub("", reduced(block.code))
            if block.kind in SHELL
            else f"python - <<'END_OF_PYTHON'\n{block.code}END_OF_PYTHON"
        )
    return "\n".join(parts)


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=name_of)
def test_every_block_runs(page, scratch, request, shared_dir):
    folder, service, environment = scratch
    code = servers_of(with_shared_data(script_of(page), shared_dir), request)
    done = subprocess.run(
        ["bash", "-c", SERVICE_URL.sub(service.url, code)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PAGE_TIMEOUT_S,
    )
    told = f"--- stdout\n{done.stdout[-3000:]}\n--- stderr, @@ marks the blocks\n{done.stderr[-3000:]}"
    assert done.returncode == 0, told
    assert "Traceback" not in done.stderr, told


def test_a_block_that_fails_fails_its_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\ntrue\n```\n```sh\nabctl serve\nfalse | true\n```\n```json\n{}\n```\n")
    assert [block.line for block in runnable(page)] == [1, 4]
    done = subprocess.run(["bash", "-c", script_of(page)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.split()[-1]) == (1, "page.md:4")


@pytest.mark.parametrize("start", ELSEWHERE)
def test_what_runs_elsewhere_has_a_test_and_is_shown(start):
    file, _, name = ELSEWHERE[start].partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    shown = [line for page in PAGES for block in runnable(page) for line in block.code.splitlines()]
    assert any(line.startswith(start) for line in shown), f"no page shows {start!r}: drop it"


def test_a_command_in_a_container_names_a_service_and_runs_here():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    code = "\n".join(block.code for block in runnable(ROOT / "deploy" / "README.md"))
    named = [found["service"] for found in IN_CONTAINER.finditer(code)]
    assert set(named) <= set(services)
    left = [line for line in IN_CONTAINER.sub("", code).splitlines() if "docker" in line]
    assert [elsewhere(line) for line in left if elsewhere(line) is None] == []
    assert len(named) > 1


def test_make_demo_is_abctl_demo():
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "demo", "ARGS=--seed 1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == ".venv/bin/abctl demo --seed 1"


@pytest.mark.parametrize("world", ["decoy-fast", "realistic"])
def test_a_model_is_trained_registered_and_promoted(world, tmp_path):
    """What `abctl model train --help` shows, as it is typed."""
    data_dir = ("--data-dir", tmp_path / "data")
    small = ("--markets", "20", "--epochs", "1", "--world", world)
    trained = abctl("model", "train", "--arm", "base", "--output", tmp_path / "m", *small, *data_dir)
    (model,) = re.findall(r"^model ([0-9a-f]+) in ", trained, re.MULTILINE)
    assert f"arm base serves model {model}" in abctl("model", "promote", model[:12], *data_dir)


def abctl(*words):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    program = [sys.executable, "-P", "-c", "from cli.main import main; main()"]
    done = subprocess.run(
        [*program, *map(str, words)], env=inherited, capture_output=True, text=True, timeout=PAGE_TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_world_is_named_where_one_is_chosen():
    from cli.lab import WORLDS

    said = " ".join(abctl("model", "train", "--help").split())
    assert f"Simulated world: {', '.join(WORLDS)}." in said


FOLDER_TEST = "tests/stats/test_vectors.py::test_every_method_of_the_folder_is_known"


@pytest.mark.parametrize(("ci", "outcome"), [("true", "failed"), ("", "skipped")])
def test_what_is_missing_fails_in_ci_and_is_skipped_elsewhere(ci, outcome, tmp_path):
    """CONTRIBUTING says so."""
    words = ["-q", "-p", "no:cacheprovider", FOLDER_TEST]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env=os.environ | {"CI": ci, "ABCTL_SHARED": str(tmp_path / "nothing")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.search(rf"^1 {outcome} in", done.stdout, re.MULTILINE), done.stdout
    assert "set ABCTL_SHARED to the folder" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    """A block without a language would be run by nobody: commands are bash, everything else names itself."""
    text = page.read_text(encoding="utf-8")
    starts = r"(\$ )?(abctl|curl|docker|export|haproxy|make) "
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        assert found[1], f"{page.name}: a block that begins with {found[2].splitlines()[0]!r} has no language"
        commands = [line for line in found[2].splitlines() if re.match(starts, line)]
        if commands and found[1] not in SHELL and not found[2].startswith(("Usage:", "main:")):
            pytest.fail(f"{page.name}: {commands[0]!r} stands in a block that nobody runs; call it ```bash")


def commands(command, path="abctl"):
    yield path
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")


def test_the_command_page_is_what_the_command_says():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_cli.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_command_is_documented():
    page = (ROOT / "docs" / "cli.md").read_text()
    missing = [path for path in commands(typer.main.get_command(app)) if f"## {path}\n" not in page]
    assert missing == []


def test_every_setting_is_documented_with_its_default():
    page = (ROOT / "docs" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        row = next(
            (
                line
                for line in page.splitlines()
                if line.startswith(f"| `{PREFIX}{name.upper()}` | `{name}` |")
            ),
            None,
        )
        assert row, f"docs/settings.md has no row for {name}"
        if field.default:
            assert f"`{field.default}`" in row, f"docs/settings.md gives another default for {name}"


def test_no_document_names_a_setting_that_does_not_exist():
    known = {PREFIX + name.upper() for name in Settings.model_fields} | BESIDE_SETTINGS
    files = ("docker-compose.yml", "deploy/haproxy.cfg", "tests/conftest.py")
    others = {name for file in files for name in re.findall(r"ABCTL_[A-Z0-9_]+", (ROOT / file).read_text())}
    for page in PAGES:
        named = set(re.findall(r"ABCTL_[A-Z0-9_]*[A-Z0-9]", page.read_text()))
        assert named <= known | others, page.name


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md"], ids=name_of)
def test_every_link_leads_somewhere(page):
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_is_short_and_its_report_is_one():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 205
    report = next(b.code for b in blocks_of(ROOT / "README.md") if b.kind == "text")
    assert report.startswith("main: transformer against base: ")
    for mark in (
        "Effect since the start",
        "Adjusted rates",
        "Raw rates",
        "Units by assigned arm",
        "Not evidence",
    ):
        assert mark in report


def test_the_changelog_knows_this_version():
    version = importlib.metadata.version("abctl")
    assert re.search(
        rf"^## (Unreleased|{re.escape(version)})", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
