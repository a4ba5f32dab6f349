"""``sock_diag``: announcements of connections that ended, and look-ups of ones that live.

The kernel announces every TCP socket at the moment it is destroyed: after its send buffer drained
or was thrown away, long after the application closed it. Messages are ``struct inet_diag_msg`` of
``include/uapi/linux/inet_diag.h`` behind a ``struct nlmsghdr``.
"""

from __future__ import annotations

import contextlib
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
_MESSAGE_END: Final = 72
_ATTRIBUTE: Final = struct.Struct("=HH")
# family, protocol, extensions, pad, states, sport, dport, source, destination, interface, cookie.
_REQUEST: Final = struct.Struct("=BBBBI2s2s16s16sIQ")
_PORT_AT: Final = _HEAD.size + 4
_FILTER_PORTS_MAX: Final = 16
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
    head = _HEAD.pack(_HEAD.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
            asked.settimeout(1.0)
            asked.send(head + request)
            answer = asked.recv(_MESSAGE_BYTES)
    except (OSError, AttributeError):
        return None
    # What is no longer there may be answered with the listening socket of the same port.
    found = (one for one in _destroyed(answer) if connection.cookie in (one.cookie, ANY_COOKIE))
    return next((one.info for one in found), None)


def living(port: int) -> Iterator[Destroyed]:
    """Yield the connections of a local port that the kernel has, of any process, as they are now.

    It yields none where the kernel cannot be asked.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST.pack(
            family,
            socket.IPPROTO_TCP,
            1 << (_INET_DIAG_INFO - 1),
            0,
            _ALL_STATES,
            port.to_bytes(2, "big"),
            bytes(2),
            bytes(16),
            bytes(16),
            0,
            0,
        )
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        head = _HEAD.pack(_HEAD.size + len(request), _SOCK_DIAG_BY_FAMILY, flags, 1, 0)
        with contextlib.suppress(OSError, AttributeError):
            yield from _dump(head + request)


def _dump(request: bytes) -> Iterator[Destroyed]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
        asked.settimeout(1.0)
        asked.send(request)
        while True:
            data = asked.recv(_MESSAGE_BYTES)
            yield from _destroyed(data)
            kinds = set(_kinds(data))
            if not data or kinds & {_NLMSG_DONE, _NLMSG_ERROR}:
                return


def _kinds(data: bytes) -> Iterator[int]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, kind, *_ = _HEAD.unpack_from(data, at)
        yield kind
        at += max(-(-length // 4) * 4, _HEAD.size)


def _destroyed(data: bytes) -> Iterator[Destroyed]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, kind, *_ = _HEAD.unpack_from(data, at)
        if length < _HEAD.size:
            return
        if kind == _SOCK_DIAG_BY_FAMILY and length >= _HEAD.size + _MESSAGE_END:
            message = data[at + _HEAD.size : at + length]
            family, state, _, _, port, peer_port, _, peer, _, cookie = _MESSAGE.unpack_from(message)
            info = _info(message)
            if info is not None and state != _LISTEN:
                address = peer[:4] if family == socket.AF_INET else peer
                ports = int.from_bytes(port, "big"), int.from_bytes(peer_port, "big")
                yield Destroyed(cookie, ports[0], info, address, ports[1])
        at += -(-length // 4) * 4


def _info(message: bytes) -> TcpInfo | None:
    at = _MESSAGE_END
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _INET_DIAG_INFO:
            return parse(message[at + _ATTRIBUTE.size : at + length])
        at += max(-(-length // 4) * 4, _ATTRIBUTE.size)
    return None


def _port_filter(ports: list[int]) -> bytes:
    """Return a classic BPF program that lets messages of these local ports pass."""
    everything = _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFFFFFF)
    if len(ports) > _FILTER_PORTS_MAX:
        return everything
    program = [_INSTRUCTION.pack(_LOAD_HALF, 0, 0, _PORT_AT)]
    for number, port in enumerate(ports):
        program.append(_INSTRUCTION.pack(_JUMP_EQUAL, len(ports) - number, 0, port))
    program += [_INSTRUCTION.pack(_RETURN, 0, 0, 0), everything]
    return b"".join(program)
