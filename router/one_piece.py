"""A whole reply in one write, where ASGI would take two messages and as many writes."""

from weakref import ref

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


def replied(alive: "ref[RequestResponseCycle]", status: int, head: bytes, body: bytes) -> bool:
    """Writes a whole reply at once; False where ASGI's two messages must do it, for this may not be the plain
    case: somebody reads slowly or has gone, or the connection is to be closed. head: header lines."""
    cycle = alive()
    if cycle is None or cycle.response_started or cycle.disconnected:
        return False
    if cycle.flow.write_paused or not cycle.keep_alive:
        return False
    lines = [STATUS_LINE[status], head]
    for name, value in cycle.default_headers:
        if name == b"connection":
            return False
        lines += (name, b": ", value, b"\r\n")
    cycle.response_started, cycle.waiting_for_100_continue = True, False
    cycle.transport.write(b"".join((*lines, b"content-length: %d\r\n\r\n" % len(body), body)))
    cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
    return True
