"""``sock_diag``: announcements of connections that ended, and look-ups of ones that live.

The kernel announces every TCP socket at the moment it is destroyed: after its send buffer drained
or was thrown away, long after the application closed it. Messages are ``struct inet_diag_msg`` of
``include/uapi/linux/inet_diag.h`` behind a ``struct nlmsghdr``.
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from streamgauge.streams.kernel.tcp_info import TcpInfo, parse

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_GROUPS: Final = 1 << 0 | 1 << 2  # SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY
_SO_RCVBUFFORCE: Final = 33
_SO_ATTACH_FILTER: Final = 26
_BUFFER_BYTES: Final = 8 * 1024 * 1024
_MESSAGE_BYTES: Final = 64 * 1024
_NLM_F_REQUEST: Final = 1
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_INET_DIAG_INFO: Final = 2
_ALL_STATES: Final = 0xFFFFFFFF
_LISTEN: Final = 10
ANY_COOKIE: Final = 2**64 - 1
"""Of a connection whose name is not known."""
_HEAD: Final = struct.Struct("=IHHII")
# family, state, timer, retransmits, sport, dport, source, destination, interface, cookie.
_MESSAGE: Final = struct.Struct("=BBBB2s2s16s16sIQ")
_QUEUED_AT: Final = 60  # idiag_wqueue
_MESSAGE_END: Final = 72
_QUEUED: Final = struct.Struct("=I")
_ATTRIBUTE: Final = struct.Struct("=HH")
# family, protocol, extensions, pad, states, sport, dport, source, destination, interface, cookie.
_REQUEST: Final = struct.Struct("=BBBBI2s2s16s16sIQ")
_PORT_AT: Final = _HEAD.size + 4
FILTER_PORTS_MAX: Final = 16
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_HALF, _JUMP_EQUAL, _RETURN = 0x28, 0x15, 0x06
_PROGRAM: Final = struct.Struct("@HP")


class Destroyed(NamedTuple):
    """A socket that is over: the kernel's name of it, its ends, and its last counters.

    An address is 4 or 16 bytes. From ``living``: a socket that is not over, and its counters now.
    """

    cookie: int
    port: int
    info: TcpInfo
    peer_address: bytes
    peer_port: int


class Identity(NamedTuple):
    """A connection by name and addresses; an address is 4 or 16 bytes."""

    cookie: int
    family: int
    local_address: bytes
    local_port: int
    peer_address: bytes
    peer_port: int


class LostError(Exception):
    """Announcements came faster than they were read, and some are gone."""


class Listener:
    """Receives the announcements of this network namespace; one thread reads it.

    Raises:
        OSError: This system has none, or does not let us.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            getattr(socket, "AF_NETLINK", -1), socket.SOCK_RAW, _NETLINK_SOCK_DIAG
        )
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            except OSError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            self._socket.bind((0, _GROUPS))
            self._waker, self._woken = socket.socketpair()
        except BaseException:
            self._socket.close()
            raise
        self._ready = select.poll()
        for one in (self._socket, self._woken):
            self._ready.register(one, select.POLLIN)

    def only(self, ports: Iterable[int]) -> None:
        """Let the kernel drop announcements of other local ports, if these are few."""
        program = _port_filter(sorted(set(ports)))
        buffer = ctypes.create_string_buffer(program, len(program))
        attached = _PROGRAM.pack(len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)

    def receive(self, timeout_s: float) -> Iterator[Destroyed]:
        """Yield what is announced within ``timeout_s``, or at once what waits.

        Raises:
            LostError: Some announcements are gone.
            OSError: The socket was closed.
        """
        ready = self._ready.poll(timeout_s * 1_000)
        if not any(descriptor == self._socket.fileno() for descriptor, _ in ready):
            return
        try:
            data = self._socket.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise LostError from None
            raise
        yield from _destroyed(data)

    def wake(self) -> None:
        """Have ``receive`` return at once, now and later; from any thread."""
        self._waker.send(b"\0")

    def close(self) -> None:
        """End it; nobody may be in ``receive``."""
        for one in (self._socket, self._waker, self._woken):
            one.close()


def alive(connection: Identity) -> TcpInfo | None:
    """Return the counters of a connection that the kernel still has, closed by us or not.

    Returns:
        None: it has none of this name, or cannot be asked.
    """
    info = raw_info(connection)
    return None if info is None else parse(info)


def raw_info(connection: Identity) -> bytes | None:
    """Return the ``struct tcp_info`` of the same."""
    # What is no longer there may be answered with the listening socket of the same port.
    for message in _messages(_ask(connection, _NLM_F_REQUEST)):
        if connection.cookie in (_identity_of(message).cookie, ANY_COOKIE):
            return _raw_info(message)
    return None


def find(
    family: int, local_port: int, peer_address: bytes, peer_port: int, local_address: bytes | None
) -> list[Identity]:
    """Return the connections between these ends; ``local_address`` None: whichever it is."""
    wanted = Identity(ANY_COOKIE, family, local_address or b"", local_port, peer_address, peer_port)
    # A lookup is by all of the addresses; without one, the kernel walks its table.
    flags = _NLM_F_REQUEST | (_NLM_F_DUMP if local_address is None else 0)
    found = [_identity_of(message) for message in _messages(_ask(wanted, flags))]
    return [
        one
        for one in found
        if (one.local_port, one.peer_address, one.peer_port)
        == (local_port, peer_address, peer_port)
    ]


def _ask(connection: Identity, flags: int) -> bytes:
    """Return the kernel's answer; nothing if it cannot be asked."""
    request = _REQUEST.pack(
        connection.family,
        socket.IPPROTO_TCP,
        1 << (_INET_DIAG_INFO - 1),
        0,
        _ALL_STATES,
        connection.local_port.to_bytes(2, "big"),
        connection.peer_port.to_bytes(2, "big"),
        connection.local_address.ljust(16, b"\0"),
        connection.peer_address.ljust(16, b"\0"),
        0,
        connection.cookie,
    )
    head = _HEAD.pack(_HEAD.size + len(request), _SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    answer = b""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
            asked.settimeout(1.0)
            asked.send(head + request)
            while True:
                part = asked.recv(_MESSAGE_BYTES)
                answer += part
                if not flags & _NLM_F_DUMP or _is_done(part):
                    return answer
    except (OSError, AttributeError):
        return b""


def _is_done(data: bytes) -> bool:
    return any(kind in {_NLMSG_DONE, _NLMSG_ERROR} for kind, _ in _split(data))


def living(port: int) -> Iterator[Destroyed]:
    """Yield the connections of a local port that the kernel has, of any process, as they are now.

    It yields none where the kernel cannot be asked.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        wanted = Identity(ANY_COOKIE, family, b"", port, b"", 0)
        yield from _destroyed(_ask(wanted, _NLM_F_REQUEST | _NLM_F_DUMP))


def _destroyed(data: bytes) -> Iterator[Destroyed]:
    for message in _messages(data):
        raw = _raw_info(message)
        (queued,) = _QUEUED.unpack_from(message, _QUEUED_AT)
        info = parse(raw, queued=queued) if raw is not None else None
        if info is not None:
            gone = _identity_of(message)
            yield Destroyed(gone.cookie, gone.local_port, info, gone.peer_address, gone.peer_port)


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, kind, *_ = _HEAD.unpack_from(data, at)
        if length < _HEAD.size:
            return
        yield kind, data[at + _HEAD.size : at + length]
        at += -(-length // 4) * 4


def _messages(data: bytes) -> Iterator[bytes]:
    """Yield what is said of connections; a listening socket is none."""
    for kind, message in _split(data):
        if kind == _SOCK_DIAG_BY_FAMILY and len(message) >= _MESSAGE_END:
            state = message[1]
            if state != _LISTEN:
                yield message


def _identity_of(message: bytes) -> Identity:
    family, _, _, _, sport, dport, source, peer, _, cookie = _MESSAGE.unpack_from(message)
    size = 4 if family == socket.AF_INET else 16
    ports = [int.from_bytes(port, "big") for port in (sport, dport)]
    return Identity(cookie, family, source[:size], ports[0], peer[:size], ports[1])


def _raw_info(message: bytes) -> bytes | None:
    at = _MESSAGE_END
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _INET_DIAG_INFO:
            return message[at + _ATTRIBUTE.size : at + length]
        at += max(-(-length // 4) * 4, _ATTRIBUTE.size)
    return None


def _port_filter(ports: list[int]) -> bytes:
    """Return a classic BPF program that lets messages of these local ports pass."""
    everything = _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFFFFFF)
    if len(ports) > FILTER_PORTS_MAX:
        return everything
    program = [_INSTRUCTION.pack(_LOAD_HALF, 0, 0, _PORT_AT)]
    for number, port in enumerate(ports):
        program.append(_INSTRUCTION.pack(_JUMP_EQUAL, len(ports) - number, 0, port))
    program += [_INSTRUCTION.pack(_RETURN, 0, 0, 0), everything]
    return b"".join(program)
