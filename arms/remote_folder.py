"""A folder of files to or from a URL that fsspec reads: s3://bucket/prefix, file:///path, memory://name.

fsspec comes with the s3 extra and is imported when a URL is used. Credentials and endpoint are those that
every AWS program reads (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, ...); none pass through here.
"""

import re
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Final

from arms.artefact import CONFIG, MAX_FILE_BYTES
from arms.errors import ArtefactError

FILES_MAX: Final = 64
TRIES: Final = 2
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 15
BUCKETS: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
"""Stores without folders: to make the parent of a file there would make a bucket."""
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"total_max_attempts": TRIES},
        }
    }
}
_URL: Final = re.compile(r"file:///[^/].*|(?!file:)[a-z][a-z0-9+.-]*://[^/].*")


def is_url(text: str) -> bool:
    """Whether it names a remote folder and not a path."""
    return "://" in text


def put(folder: Path, url: str) -> None:
    """Copy every file of a folder to below a URL where there is none yet; raises ArtefactError.

    config.json comes last, the outermost at the very end: who reads earlier finds no model, not half a one.
    What was put is removed again where a later file fails.
    """
    files = sorted((path.relative_to(folder) for path in folder.rglob("*") if path.is_file()), key=_turn)
    store, root = _opened(url)
    try:
        _check_free(store, root, url)
        _put_all(store, root, folder, files)
    except ArtefactError:
        raise
    except Exception as error:  # each store raises types of its own
        raise _failure(url, "written", error) from error


def fetched(url: str, folder: Path) -> Path:
    """Copy every file below a URL into a folder; returns the folder. Raises ArtefactError.

    At most 64 files of at most 64 MiB each: a model has a dozen, a wrong prefix may have millions.
    """
    store, root = _opened(url)
    try:
        found = _found(store, root)
        for name in _checked(found, url):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(store.cat_file(f"{root}/{name}"))
    except ArtefactError:
        raise
    except Exception as error:  # each store raises types of its own
        raise _failure(url, "read", error) from error
    return folder


def _turn(path: Path) -> tuple[bool, int, str]:
    return (path.name == CONFIG, -len(path.parts), path.as_posix())


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, not shared with anybody, and the path there."""
    protocol = url.partition("://")[0]
    if not _URL.fullmatch(url):
        raise ArtefactError(f"{url!r} is no URL of a folder: write for example s3://bucket/prefix")
    if find_spec("fsspec") is None or (protocol in {"s3", "s3a"} and find_spec("s3fs") is None):
        raise ArtefactError("a URL needs the s3 extra: pip install 'abctl[s3]'")
    from fsspec.core import url_to_fs

    options = _OPTIONS["s3"] if protocol in {"s3", "s3a"} else {}
    try:
        store, path = url_to_fs(url, skip_instance_cache=True, **options)
    except (ValueError, ImportError) as error:
        raise ArtefactError(f"{url} cannot be used: {_told(error)}") from error
    if hasattr(store, "retries"):
        store.retries = 1  # s3fs would go through the tries below it so many times
    return store, str(path).rstrip("/")


def _check_free(store: Any, root: str, url: str) -> None:
    found = _found(store, root)
    if found:
        raise ArtefactError(
            f"{url} already holds {min(found)}: nothing is overwritten; give a prefix that is empty"
        )


def _put_all(store: Any, root: str, folder: Path, files: list[Path]) -> None:
    begun: list[str] = []
    try:
        for file in files:
            path = f"{root}/{file.as_posix()}"
            if not BUCKETS.intersection(_protocols(store)):
                store.makedirs(path.rpartition("/")[0], exist_ok=True)
            begun.append(path)
            store.pipe_file(path, (folder / file).read_bytes())
    except BaseException:
        _remove(store, begun)
        raise


def _remove(store: Any, paths: list[str]) -> None:
    for path in reversed(paths):
        try:
            store.rm_file(path)
        except Exception:  # noqa: BLE001 - the first failure is told, not that of tidying up after it
            return


def _found(store: Any, root: str) -> dict[str, int]:
    """Bytes of each file below a path, by its name there."""
    listed = store.find(root, detail=True)
    return {
        path.removeprefix(f"{root}/"): int(facts["size"] or 0)
        for path, facts in listed.items()
        if path.startswith(f"{root}/")
    }


def _checked(found: dict[str, int], url: str) -> list[str]:
    if not found:
        raise ArtefactError(f"{url} holds no file: name the folder that was written, with its bucket")
    if len(found) > FILES_MAX:
        raise ArtefactError(f"{url} holds {len(found):,} files: name the folder of one model")
    for name, size in found.items():
        if size > MAX_FILE_BYTES:
            raise ArtefactError(f"{name} of {url} has {size:,} bytes: at most {MAX_FILE_BYTES:,} are allowed")
        if ".." in PurePosixPath(name).parts or name.startswith("/") or "\\" in name or "\0" in name:
            raise ArtefactError(f"{url} holds {name!r}, which leads out of the folder: remove it")
    return sorted(found)


def _protocols(store: Any) -> tuple[str, ...]:
    return (store.protocol,) if isinstance(store.protocol, str) else tuple(store.protocol)


def _failure(url: str, done: str, error: Exception) -> ArtefactError:
    kind, told = type(error).__name__, _told(error)
    if isinstance(error, PermissionError) or "Credential" in kind or "Token" in kind:
        return ArtefactError(
            f"{url} may not be {done}: {told}; check AWS_ACCESS_KEY_ID, AWS_PROFILE and its rights"
        )
    if isinstance(error, FileNotFoundError):
        return ArtefactError(f"{url} cannot be {done}: {told}; name a bucket or folder that exists")
    if isinstance(error, TimeoutError) or "Connect" in kind or "Timeout" in kind:
        return ArtefactError(f"{url} does not answer: {told}; check AWS_ENDPOINT_URL and the network")
    return ArtefactError(f"{url} cannot be {done}: {kind}: {told}")


def _told(error: Exception) -> str:
    """Its first line; of an OSError without the number."""
    said = getattr(error, "strerror", None) or str(error)
    line = (str(said).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\?[^\s\"]*", "", line).rstrip(". ")  # of a URL what was asked of it tells nobody anything
