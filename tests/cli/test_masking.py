"""The log: one record a line, whatever others send; no secret in any."""

import inspect
import io
import logging
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http import httptools_impl

from cli.log_lines import FORMAT, Lines
from cli.masking import masked, one_line

TOKEN = "abctl_" + "0" * 16 + "_" + "a1" * 32
FORGED = "x\n2026-01-01 00:00:00,000 abctl.router INFO all is well"


def logged(log):
    """What a record becomes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(FORMAT))
    logger = logging.Logger("abctl.test")  # noqa: LOG001 - one that nobody else hears
    logger.addHandler(handler)
    log(logger)
    return stream.getvalue()


@given(st.text())
@example(FORGED)
@example("\r\x1b[2K\u2028\u0085\u202e\ud800")
def test_no_text_whatever_begins_a_line_of_its_own(text):
    said = logged(lambda log: log.warning("arm %s is killed: %s", text, text))
    assert said.endswith("\n")
    line = said.removesuffix("\n")
    assert len(line.splitlines()) == 1
    assert not [c for c in line if ord(c) < 32 or c in "\x7f\x9b\u2028\u2029\u202e"]


def test_a_traceback_cannot_forge_a_record():
    def log(logger):
        try:
            raise ValueError(FORGED)
        except ValueError:
            logger.exception("it failed")

    first, *others = logged(log).splitlines()
    assert "it failed" in first
    assert others
    assert all(line.startswith("    | ") for line in others)


@pytest.mark.parametrize(("text", "shown"), [
    ("postgresql://ana:hunter2@db/x fails", "postgresql://ana:***@db/x fails"),
    ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
    ("postgresql+psycopg://u:p%40ss@h", "postgresql+psycopg://u:***@h"),
    ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
    ("redis://:hunt@er2@h:1/0", "redis://:***@h:1/0"),
    ("postgresql://u:hunter2/@h/x", "postgresql://u:***@h/x"),
    ("host=db password='hunter 2' user=u", "host=db password=*** user=u"),
    ("password = hunter2", "password = ***"),
    (f"key {TOKEN} was sent", f"key abctl_{'0' * 16}_*** was sent"),
    ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
    ("http://127.0.0.1:8711 and a@b", "http://127.0.0.1:8711 and a@b"),
    ("postgresql://ana@db/x", "postgresql://ana@db/x"),
])  # fmt: skip
def test_secrets_are_masked_and_the_rest_is_not(text, shown):
    assert masked(text) == shown
    assert shown in logged(lambda log: log.error("%s", text))


def test_secrets_in_tracebacks_are_masked():
    def log(logger):
        try:
            raise ValueError(f"cannot use {TOKEN} at postgresql://u:hunter2@h")
        except ValueError:
            logger.exception("failed")

    said = logged(log)
    assert "hunter2" not in said
    assert "a1a1" not in said


def test_what_strangers_cause_at_will_is_not_logged():
    """In a process of its own, as a worker sets its log up; uvicorn's words are the real ones."""
    words = "Invalid HTTP request received."
    assert f'"{words}"' in inspect.getsource(httptools_impl)
    log = f"logging.getLogger('uvicorn.error').warning({words!r})"
    begin = "import logging; from cli.log_lines import log_to_stderr; log_to_stderr()"
    script = f"{begin}; {log}; logging.warning('news')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert words not in done.stderr
    assert "news" in done.stderr


@given(st.text())
def test_plain_text_stays(text):
    if text.isprintable():
        assert one_line(text) == text
