"""Bytes of ASGI responses read from the kernel, in as few lines as will do.

It is no product: it knows one server's inside and forgets nothing. What it says is compared with
captures, to know that a difference between the product and a capture is the product's.
"""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

_SO_COOKIE: Final = 57
_INFO_BYTES: Final = 232
_NETLINK_SOCK_DIAG: Final = 4
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_DESTROY_GROUPS: Final = (1, 3)
_DIAG_HEADER_BYTES: Final = 72
_INET_DIAG_INFO: Final = 2


@dataclasses.dataclass(frozen=True)
class Info:
    """The fields of ``tcp_info`` that count; offsets as in ``linux/tcp.h``."""

    state: int
    has_timestamps: bool
    unacked: int
    total_retrans: int
    bytes_acked: int
    segs_out: int
    notsent_bytes: int
    bytes_sent: int
    bytes_retrans: int

    @classmethod
    def of(cls, raw: bytes) -> Info:
        unpack = struct.unpack_from
        return cls(
            state=raw[0],
            has_timestamps=bool(raw[5] & 1),
            unacked=unpack("=I", raw, 24)[0],
            total_retrans=unpack("=I", raw, 100)[0],
            bytes_acked=unpack("=Q", raw, 120)[0],
            segs_out=unpack("=I", raw, 136)[0],
            notsent_bytes=unpack("=I", raw, 144)[0],
            bytes_sent=unpack("=Q", raw, 200)[0],
            bytes_retrans=unpack("=Q", raw, 208)[0],
        )

    @property
    def stream_bytes(self) -> int:
        return self.bytes_sent - self.bytes_retrans

    @property
    def delivered_bytes(self) -> int:
        """Acknowledged bytes of the stream; a FIN counts as one, and as none of the stream."""
        return min(self.bytes_acked, self.stream_bytes)

    def wire_bytes(self, ip_header_bytes: int) -> int:
        header_bytes = ip_header_bytes + 20 + 12 * self.has_timestamps
        syn_ack_bytes = ip_header_bytes + (40 if self.has_timestamps else 32)
        return self.bytes_sent + self.segs_out * header_bytes + syn_ack_bytes


@dataclasses.dataclass
class Counted:
    """A connection, its open response and what the kernel had said when that began."""

    cookie: int
    ip_header_bytes: int
    payload_bytes: int = 0
    customer_id: str | None = None
    at_start: tuple[int, int, int] = (0, 0, 0)


class Reference:
    """ASGI middleware for uvicorn."""

    def __init__(self, app: Any, on_measured: Callable[[dict[str, Any]], None]) -> None:
        self._app = app
        self._on_measured = on_measured
        self._connections: dict[int, Counted] = {}
        self._lock = threading.Lock()
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        # An unbound socket gets no broadcasts.
        self._netlink.bind((0, 0))
        for group in _DESTROY_GROUPS:
            self._netlink.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        threading.Thread(target=self._listen, name="destroyed", daemon=True).start()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        owner = getattr(send, "__self__", None)
        connected: socket.socket = owner.transport.get_extra_info("socket")
        cookie = int.from_bytes(connected.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")
        info = Info.of(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES))
        with self._lock:
            counted = self._connections.get(cookie)
            if counted is None:
                counted = Counted(cookie, _ip_header_bytes(connected))
                self._connections[cookie] = counted
            else:
                self._close(counted, info)
            headers = dict(scope["headers"])
            counted.customer_id = headers.get(b"x-customer", b"").decode()
            counted.customer_id += f"@{scope['client'][1]}"
            counted.payload_bytes = 0

        async def counting_send(message: Any) -> None:
            if scope.get("method") != "HEAD":
                counted.payload_bytes += len(message.get("body") or message.get("bytes") or b"")
            await send(message)

        await self._app(scope, receive, counting_send)

    def _close(self, counted: Counted, info: Info, destroyed: dict[str, Any] | None = None) -> None:
        wire = info.wire_bytes(counted.ip_header_bytes)
        now = (info.delivered_bytes, wire, info.bytes_retrans)
        tls, wire, retrans = (a - b for a, b in zip(now, counted.at_start, strict=True))
        counted.at_start = now
        layers = {"payload": min(counted.payload_bytes, tls), "tls": tls, "wire": wire}
        readings = {name: (size, "measured", True) for name, size in layers.items()}
        self._on_measured(
            {
                "customer_id": counted.customer_id,
                "connection": counted.cookie,
                "is_complete": destroyed is None,
                "http": None,
                "wire_once": (wire - retrans, "measured", True),
                "destroyed": destroyed,
                **readings,
            }
        )

    def _listen(self) -> None:
        while True:
            message = self._netlink.recv(65536)
            cookie, state, raw = _destroyed(message)
            with self._lock:
                counted = self._connections.pop(cookie, None)
                if counted is not None and raw is not None:
                    info = Info.of(raw)
                    details = {**dataclasses.asdict(info), "diag_state": state}
                    self._close(counted, info, details)


def _ip_header_bytes(connected: socket.socket) -> int:
    address = connected.getpeername()[0]
    return 40 if ":" in address and not address.startswith("::ffff:") else 20


def _destroyed(message: bytes) -> tuple[int, int, bytes | None]:
    state = message[16 + 1]
    cookie = int.from_bytes(message[16 + 44 : 16 + 52], "little")
    at = 16 + _DIAG_HEADER_BYTES
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        if kind & 0x7FFF == _INET_DIAG_INFO:
            return cookie, state, message[at + 4 : at + size]
        at += (size + 3) & ~3
    return cookie, state, None
