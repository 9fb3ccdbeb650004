"""Faults on the way of a decision: what a caller breaks, and what we break, costs nobody else anything."""

import json
import logging
import socket
import struct
import time

import pytest

from store.bindings import RedisFirstSight

HEAD = b"POST /v1/decide HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


def raw(fields):
    body = json.dumps(fields).encode()
    return HEAD + b"content-length: %d\r\n\r\n" % len(body), body


def read_reply(connection):
    data = b""
    while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < length_of(data):
        more = connection.recv(65536)
        assert more, data
        data += more
    return json.loads(data.split(b"\r\n\r\n", 1)[1])


def length_of(data):
    head = data.split(b"\r\n\r\n", 1)[0].lower()
    return int(head.split(b"content-length: ")[1].split(b"\r\n")[0])


def test_a_fault_in_a_batch_leaves_no_decision_on_its_way(start_node, question, monkeypatch):
    node = start_node()
    first_seen = RedisFirstSight.first_seen

    async def odd(self, experiment, unit, *more):
        if unit == "bad":
            raise ValueError("a fault of ours")
        return await first_seen(self, experiment, unit, *more)

    monkeypatch.setattr(RedisFirstSight, "first_seen", odd)
    good, bad = question("good", decision_id="g"), question("bad", decision_id="b")
    del bad["started_at"]
    assert node.post("/v1/decide/batch", {"decisions": [good, bad]}).status == 500
    assert node.service.desk.under_way == {}
    assert node.post("/v1/decide", good).status == 200


def test_a_caller_that_resets_its_connection_is_no_fault_of_ours(start_node, question, caplog):
    node = start_node()
    with caplog.at_level(logging.WARNING):
        for number in range(60):
            connection = socket.create_connection(("127.0.0.1", node.port))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            fields = (question(f"reset-{number}-{n}") for n in range(8))
            connection.sendall(b"".join(b"".join(raw(each)) for each in fields))
            if number % 2:
                connection.recv(1)
            connection.close()
        assert node.post("/v1/decide", question("after")).status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_time_of_an_upload_counts(node, question, is_chunked):
    head, body = raw(question(f"slow-{is_chunked}"))
    if is_chunked:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.sendall(head + body[:50])
        time.sleep(0.3)
        connection.sendall(body[50:])
        reply = read_reply(connection)
    assert 250_000 <= reply["latency_us"] < 2_000_000
