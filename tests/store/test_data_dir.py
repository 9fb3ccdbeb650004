"""One owner a data directory, one name a node."""

import pytest

from store.data_dir import DataDir, ServiceFile, owned, read_service, write_service
from store.errors import DataDirLocked

HOLD = """
import sys, time
from pathlib import Path
from store.data_dir import DataDir, owned
with owned(DataDir(Path(sys.argv[1]))):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path):
    return DataDir(tmp_path / "data").prepare()


def test_a_second_owner_is_told(place):
    with owned(place), pytest.raises(DataDirLocked, match="another --data-dir"), owned(place):
        pass
    with owned(place):
        pass


def test_the_lock_goes_with_a_killed_owner(place, make):
    owner = make.python(HOLD, place.root)
    assert owner.stdout.readline() == "owned\n"
    with pytest.raises(DataDirLocked), owned(place):
        pass
    owner.kill()
    owner.communicate()
    with owned(place):
        pass


def test_a_node_has_one_name(place):
    assert place.node_id() == place.node_id() == DataDir(place.root).node_id()
    assert len(place.node_id()) == 32


def test_two_processes_agree_on_the_name(place, make):
    script = (
        "import sys; from pathlib import Path; from store.data_dir import DataDir;"
        "print(DataDir(Path(sys.argv[1])).node_id())"
    )
    names = [child.communicate()[0] for child in [make.python(script, place.root) for _ in range(3)]]
    assert len(set(names)) == 1
    assert [path.name for path in place.root.iterdir() if path.name.startswith("node")] == ["node"]


def test_only_the_owner_may_look(place):
    assert place.root.stat().st_mode & 0o077 == 0
    assert place.journals.stat().st_mode & 0o077 == 0


def test_a_service_announces_itself(place):
    assert read_service(place) is None
    service = ServiceFile("http://127.0.0.1:8711", 1, 2)
    write_service(place, service)
    assert read_service(place) == service
