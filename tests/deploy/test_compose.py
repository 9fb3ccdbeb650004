"""docker-compose.yml keeps to the Compose specification, and to what the service needs."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "compose_spec.json").read_text())
TEXT = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


@pytest.fixture
def compose():
    return copy.deepcopy(yaml.safe_load(TEXT))


def problems(compose):
    """What is wrong with a compose file: by the schema, then by names that nothing declares."""
    found = [
        f"{error.json_path}: {error.message}"
        for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(compose)
    ]
    if found:
        return found
    services, volumes = compose["services"], compose.get("volumes") or {}
    for name, service in services.items():
        needed = set(service.get("depends_on") or ())
        mounted = {volume.split(":")[0] for volume in service.get("volumes") or ()}
        found += [
            f"{name} depends on {other}, which is no service" for other in sorted(needed - services.keys())
        ]
        found += [
            f"{name}: volume {v} is not declared"
            for v in sorted(mounted - volumes.keys())
            if not v.startswith(".")
        ]
        found += [
            f"{name}: {v} does not exist"
            for v in sorted(mounted)
            if v.startswith(".") and not (ROOT / v).exists()
        ]
    return found


def test_it_is_valid(compose):
    assert problems(compose) == []


def put(*path_and_value):
    *path, last, value = path_and_value

    def plant(compose):
        target = compose
        for key in path:
            target = target[key]
        target[last] = value

    return plant


@pytest.mark.parametrize(("plant", "says"), [
    (put("services", "api1", "port", ["8711"]), "'port' does not match"),
    (put("services", "api1", "ports", "8711:8711"), "is not of type 'array'"),
    (put("services", "api1", "volumes", ["typo:/data"]), "volume typo is not declared"),
    (put("services", "api1", "depends_on", ["postgre"]), "depends on postgre, which is no service"),
    (put("services", "api1", "depends_on", {"redis": {"condition": "healthy"}}), "is not valid under any"),
    (put("services", "redis", "healthcheck", {"tests": []}), "'tests' does not match"),
    (put("services", "redis", "image", 7.2), "is not of type 'string'"),
    (put("services", "haproxy", "volumes", ["./deploy/haproxy.conf:/x:ro"]), "haproxy.conf does not exist"),
    (put("services", "api 3", {}), "'api 3' does not match any"),
    (put("volume", {}), "'volume' does not match"),
])  # fmt: skip
def test_planted_errors_are_found(compose, plant, says):
    plant(compose)
    assert any(says in problem for problem in problems(compose)), problems(compose)


def test_two_services_share_sql_and_redis_but_no_volume(compose):
    one, two = (compose["services"][name] for name in ("api1", "api2"))
    assert one["environment"] == two["environment"]
    assert one["environment"]["ABCTL_DATABASE_URL"].startswith("postgresql+psycopg://")
    assert one["environment"]["ABCTL_REDIS_URL"].startswith("redis://redis:")
    assert [v.split(":")[1] for v in one["volumes"]] == [v.split(":")[1] for v in two["volumes"]] == ["/data"]
    assert one["volumes"] != two["volumes"]


def test_redis_appends_to_disk_and_evicts_nothing(compose):
    command = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_only_the_door_is_published_and_only_here(compose):
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert published == {"haproxy": ["${ABCTL_PUBLISH:-127.0.0.1:8711}:8711"]}


@pytest.mark.parametrize("name", ["api1", "api2", "redis", "postgres", "haproxy"])
def test_no_container_is_root_or_writes_beside_its_volumes(compose, name):
    assert set(compose["services"]) == {"api1", "api2", "redis", "postgres", "haproxy"}
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    assert not [v for v in service.get("volumes", ()) if "docker.sock" in v]


def test_the_image_has_a_user_of_its_own(compose):
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert compose["services"]["api1"]["user"] == f"{user[1]}:{user[2]}"
    assert int(user[1]) > 0
    assert "install -d -o abctl" in DOCKERFILE


def test_no_secret_has_a_default(compose):
    """Without them `docker compose` says what is missing, instead of starting with what everybody knows."""
    assert set(re.findall(r"\$\{(\w+):\?", TEXT)) == {"ABCTL_POSTGRES_PASSWORD", "ABCTL_KEY_PEPPER"}
    assert re.findall(r"\$\{\w*(?:PASSWORD|PEPPER|KEY)\w*(?::-|\})", TEXT) == []
    assert compose["services"]["api1"]["environment"]["ABCTL_KEY_PEPPER"]


def test_the_image_starts_the_service_without_training():
    assert 'CMD ["abctl", "serve", "--host", "0.0.0.0"]' in DOCKERFILE
    assert "[train]" not in DOCKERFILE
    assert "/readyz" in DOCKERFILE


def test_the_image_gets_every_package_and_nothing_secret():
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "**"
    for part in ("arms", "cli", "market", "router", "stats", "store", "client"):
        assert f"!{part}/**" in ignored
    assert {"!pyproject.toml", "!README.md", "!LICENSE"} <= set(ignored)
