"""A webhook that cannot be told anything is refused before a service starts, and its secret is never said."""

import pytest

from cli.settings import read_settings
from cli.webhook_settings import webhook_secret_of

URL = "https://receiver.example/very-private"
SECRET = "whsec_" + "QUJD" * 8


@pytest.fixture(autouse=True)
def empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"URL": URL}, "webhook_secret"),
        ({"URL": "receiver/very-private", "SECRET": SECRET}, "webhook_url"),
        ({"URL": URL, "SECRET": "very-private"}, "webhook_secret"),
        ({"URL": URL, "SECRET_FILE": "missing"}, "webhook_secret_file"),
        ({"URL": URL, "SECRET": SECRET, "SECRET_FILE": "missing"}, "webhook_secret_file"),
    ],
)
def test_it_is_refused_before_anything_is_made(abctl, tmp_path, monkeypatch, settings, named):
    for name, value in settings.items():
        monkeypatch.setenv(f"ABCTL_WEBHOOK_{name}", value)
    told = abctl("serve", "--port", "0")
    assert (told.code, named in told.sentence) == (3, True)
    assert not any(word in told.out + told.err for word in ("very-private", SECRET[6:]))
    assert list(tmp_path.iterdir()) == []


def test_the_secret_may_stand_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(SECRET + "\n")
    monkeypatch.setenv("ABCTL_WEBHOOK_SECRET_FILE", "secret")
    settings = read_settings()
    assert webhook_secret_of(settings) == SECRET
    monkeypatch.delenv("ABCTL_WEBHOOK_SECRET_FILE")
    monkeypatch.setenv("ABCTL_WEBHOOK_SECRET", SECRET)
    assert webhook_secret_of(read_settings()) == SECRET
    assert SECRET[6:] not in repr(read_settings())
