"""The door: a real haproxy before two small services, one of which dies, gets unready or comes back."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="No haproxy (it skips in CI too): install it.")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A service that says its name; `ready` and `dropping` can be switched while it runs."""

    def __init__(self, name):
        self.name, self.port, self.ready, self.dropping, self.asked = name, free_port(), True, False, []
        self.server, self.connections = None, []

    def start(self):
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                service.connections.append(self.connection)

            def log_message(self, *args):
                pass

            def do_GET(self):
                self.answer(200 if service.ready else 503)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                service.asked.append(self.path)
                if service.dropping:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.answer(200)

            def do_PUT(self):
                self.do_POST()

            def answer(self, status):
                body = json.dumps({"name": service.name}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            for connection in self.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class Door:
    """haproxy on a free port before two services."""

    def __init__(self, port, services):
        self.port, self.services = port, services

    def ask(self, path="/v1/decide", method="POST", body=b"{}"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, body=None if method == "GET" else body)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content)["name"] if response.status == 200 else content
        finally:
            connection.close()

    def until(self, condition, timeout_s=8.0):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return False

    def names(self, count=20):
        return {self.ask()[1] for _ in range(count)}


@contextmanager
def open_door():
    services = [Service("one"), Service("two")]
    port = free_port()
    environment = os.environ | {
        "ABCTL_LB_BIND": f"127.0.0.1:{port}",
        "ABCTL_API1": f"127.0.0.1:{services[0].port}",
        "ABCTL_API2": f"127.0.0.1:{services[1].port}",
    }
    with ExitStack() as stack:
        for service in services:
            service.start()
            stack.callback(service.stop)
        process = subprocess.Popen(
            [HAPROXY, "-db", "-f", CONFIG],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)
        door = Door(port, services)

        def answers():
            try:
                return door.ask("/readyz", "GET")[0] == 200
            except OSError:
                return False

        assert door.until(answers)
        yield door


@pytest.fixture
def door():
    with open_door() as opened:
        yield opened


def check(path, **environment):
    done = subprocess.run(
        [HAPROXY, "-c", "-f", path], env=os.environ | environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_the_configuration_is_valid():
    code, said = check(CONFIG)
    assert code == 0, said
    assert "warning" not in said.lower()


def test_a_name_that_does_not_resolve_yet_is_no_error():
    code, said = check(CONFIG, ABCTL_LB_BIND=":8711", ABCTL_API1="not-up-yet.invalid:8711")
    assert code == 0, said


def test_a_planted_error_is_found(tmp_path):
    planted = tmp_path / "haproxy.cfg"
    planted.write_text(CONFIG.read_text().replace("balance leastconn", "balance leastcon"))
    assert check(planted)[0] != 0


def test_both_services_are_asked_and_nobody_sticks(door):
    assert door.until(lambda: door.names() == {"one", "two"})


def test_a_dead_service_costs_no_request_and_comes_back(door):
    assert door.until(lambda: door.names() == {"one", "two"})
    door.services[0].stop()
    assert [door.ask() for _ in range(40)] == [(200, "two")] * 40
    door.services[0].start()
    assert door.until(lambda: door.names() == {"one", "two"})


def test_an_unready_service_gets_no_traffic(door):
    door.services[1].ready = False
    assert door.until(lambda: door.names() == {"one"})


def test_when_none_is_ready_they_are_asked_anyway(door):
    for service in door.services:
        service.ready = False
    time.sleep(1.6)
    assert [door.ask()[0] for _ in range(20)] == [200] * 20


def test_a_keyed_request_that_was_dropped_is_asked_again(door):
    door.services[0].dropping = True
    large = b"[" + b"1.25," * 8000 + b"0]"
    assert [door.ask(body=large) for _ in range(10)] == [(200, "two")] * 10
    assert door.services[0].asked


def test_a_change_of_a_split_is_never_asked_twice(door):
    for service in door.services:
        service.dropping = True
    assert door.ask("/v1/experiments/main/split", "PUT")[0] == 502
    assert sum(len(service.asked) for service in door.services) == 1


def test_metrics_are_not_behind_the_door(door):
    assert door.ask("/metrics", "GET")[0] == 404
