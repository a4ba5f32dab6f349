"""WebSockets: what servers write beside messages, a head and a last frame.

A server's pings, and its answers to pings, are seen nowhere.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from streamgauge.streams.model import websocket_bytes

_STATUS_LINE: Final = len(b"HTTP/1.1 101 Switching Protocols\r\n")
_CODE_BYTES: Final = 2
_NO_CODE: Final = 1005  # RFC 6455, section 7.4.1: a frame that gives no reason


class Around(NamedTuple):
    """What a server wrote that was no message.

    Attributes:
        size: Its bytes.
        writes: In how many pieces.
    """

    size: int
    writes: int


def around_messages(end: Any) -> Around | None:  # noqa: ANN401 - uvicorn's own object
    """Return what one of uvicorn's WebSockets wrote; None: not known, or messages shrink."""
    try:
        # One keeps its state in a protocol without input and output, the other is one itself.
        protocol = getattr(end, "conn", end)
        if protocol.extensions:
            return None
        if protocol is end:
            head = _STATUS_LINE + len(str(end.response_headers))
        else:
            head = len(end.response.serialize())
        closing = protocol.close_sent
    except AttributeError:
        # Another version, or another library, keeps it elsewhere.
        return None
    if closing is None:
        return Around(head, 1)
    reason = 0 if closing.code == _NO_CODE else _CODE_BYTES + len(closing.reason.encode())
    return Around(head + websocket_bytes(reason) + reason, 2)
