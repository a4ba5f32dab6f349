"""How servers write: the bytes around a payload, from what is known before they are sent.

HTTP/1.1 by RFC 9112 (heads, chunked coding), TLS 1.3 by RFC 8446 (records of up to 16 KiB, each
with a header of 5 bytes, a content type of 1 and a tag of 16).
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

STATUSES_WITHOUT_BODY: Final = frozenset({204, 304})
CONTINUE_BYTES: Final = len(b"HTTP/1.1 100 Continue\r\n\r\n")
LAST_CHUNK_BYTES: Final = len(b"0\r\n\r\n")
RECORD_BYTES_MAX: Final = 16_384
RECORD_OVERHEAD_BYTES: Final = 22
# A record of TLS 1.2 with ChaCha20-Poly1305, the smallest there is.
RECORD_OVERHEAD_BYTES_MIN: Final = 21
# TLS 1.3; 1.2 with AES-GCM, and with ChaCha20-Poly1305.
RECORD_OVERHEADS_BYTES: Final = (RECORD_OVERHEAD_BYTES, 29, RECORD_OVERHEAD_BYTES_MIN)
ALERT_BYTES: Final = 2
# A frame of RFC 6455 with four bytes, by which servers tell whether a client is still there.
PING_BYTES: Final = 6
# A server's part of a TLS 1.3 handshake with one elliptic-curve certificate, and two tickets.
HANDSHAKE_BYTES: Final = 1_850
# Of full segments on a path of 1,500 bytes with timestamps.
SEGMENT_BYTES: Final = 1_448
# SYN-ACK, the acknowledgement of the request, and FIN.
_OTHER_SEGMENTS: Final = 3

_CHUNKED_FIELD: Final = len(b"transfer-encoding: chunked\r\n")
_CLOSE_FIELD: Final = len(b"connection: close\r\n")
_LINE_END: Final = len(b"\r\n")
_FIELD_MARKS: Final = len(b": \r\n")
# Of a Content-Length that is meant: 64 bits.
_LENGTH_DIGITS_MAX: Final = 19
_PHRASES: Final = {status.value: len(status.phrase) for status in HTTPStatus}

Headers = Iterable[tuple[bytes, bytes]]


def fields_bytes(headers: Headers) -> int:
    """Return the bytes of header fields, one a line."""
    return sum(len(name) + len(value) + _FIELD_MARKS for name, value in headers)


def declared_bytes(headers: Headers) -> int | None:
    """Return what ``Content-Length`` says, if it is there and a number."""
    values = [value for name, value in headers if name.lower() == b"content-length"]
    if not values or not values[-1].isdigit() or len(values[-1]) > _LENGTH_DIGITS_MAX:
        return None
    return int(values[-1])


def head_bytes(
    status: int, fields: int, *, has_phrase: bool, adds_chunked: bool, adds_close: bool
) -> int:
    """Return the bytes of a head of HTTP/1.1.

    Args:
        status: The status code.
        fields: Bytes of the header fields, those included that the server puts in.
        has_phrase: Whether the server writes ``200 OK`` rather than ``200``.
        adds_chunked: Whether it adds ``transfer-encoding: chunked``.
        adds_close: Whether it adds ``connection: close``.
    """
    line = len(b"HTTP/1.1 200 ") + (_PHRASES.get(status, 0) if has_phrase else 0) + _LINE_END
    more = _CHUNKED_FIELD * adds_chunked + _CLOSE_FIELD * adds_close
    return line + fields + more + _LINE_END


def chunk_bytes(size: int) -> int:
    """Return the bytes around one chunk of the chunked coding; an empty one is not sent."""
    return ((size.bit_length() + 3) >> 2) + 2 * _LINE_END if size else 0


def websocket_bytes(size: int) -> int:
    """Return the bytes before one message of a server's WebSocket, by RFC 6455, section 5.2."""
    if size < 126:  # noqa: PLR2004 - the standard's own bounds
        return 2
    return 4 if size < 1 << 16 else 10


def record_overhead_bytes(size: int, each: int = RECORD_OVERHEAD_BYTES) -> int:
    """Return what TLS adds to ``size`` bytes that are written at once."""
    return each * -(-size // RECORD_BYTES_MAX)


def wire_bytes(stream_bytes: int, header_bytes: int) -> int:
    """Return the bytes on the wire of a stream in full segments, without retransmissions."""
    return stream_bytes + (-(-stream_bytes // SEGMENT_BYTES) + _OTHER_SEGMENTS) * header_bytes
