"""What nginx writes into its log about a response, and what the application says to it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from streamgauge.core.clock import NS_PER_S
from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import BILL_HEADER_BYTES_MAX
from streamgauge.core.metadata import canonical_mapping, canonical_raw, parse
from streamgauge.core.payers import Payer
from streamgauge.sdk.groups import checked_group
from streamgauge.streams.kernel.tcp_info import IPV4_BYTES, IPV6_BYTES

BILL_HEADER: Final = "X-Streamgauge-Bill"
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"
_IPV4_ADDRESS_BYTES: Final = 4

LOG_FORMAT: Final = """\
log_format streamgauge escape=json
  '{"id":"$request_id","at":"$msec","bill":"$upstream_http_x_streamgauge_bill",'
  '"connection":$connection,"number":$connection_requests,'
  '"local":"$server_addr","port":"$server_port","peer":"$remote_addr","peer_port":"$remote_port",'
  '"sent":$bytes_sent,"body":$body_bytes_sent,"protocol":"$server_protocol","tls":"$ssl_protocol"}';
"""
"""The ``log_format`` that the reader reads."""


class Ends(NamedTuple):
    """The ends of a connection; an IPv4 address has 4 bytes, however it was written."""

    port: int
    peer: bytes
    peer_port: int

    @property
    def ip_bytes(self) -> int:
        """Return the bytes of an IP header between them."""
        return IPV4_BYTES if len(self.peer) == _IPV4_ADDRESS_BYTES else IPV6_BYTES


class Line(msgspec.Struct, frozen=True):
    """One response, as ``LOG_FORMAT`` has it.

    Attributes:
        id: Unique for ever.
        at: When it was over, in seconds since 1970 with three decimals.
        bill: What the application said about who pays; empty: nothing.
        connection: nginx's number of the connection.
        number: Of the request on its connection, from 1.
        local: The address that was connected to.
        port: And its port; empty behind a Unix socket.
        peer: The client's address.
        peer_port: And its port; empty behind a Unix socket.
        sent: Bytes handed to the kernel, or to TLS.
        body: Of these, bytes after the head.
        protocol: ``HTTP/1.1``, ``HTTP/2.0`` and so on.
        tls: ``TLSv1.3`` and so on; empty without TLS.
    """

    id: str
    at: str
    bill: str
    connection: int
    number: int
    local: str
    port: str
    peer: str
    peer_port: str
    sent: int
    body: int
    protocol: str
    tls: str

    @property
    def at_ns(self) -> int:
        """Return when it was over, in nanoseconds since 1970."""
        seconds, _, milliseconds = self.at.partition(".")
        return int(seconds) * NS_PER_S + int(milliseconds or "0") * (NS_PER_S // 1_000)

    @property
    def ends(self) -> Ends | None:
        """Return the ends of its connection; None: it is no TCP connection."""
        try:
            return Ends(int(self.port), address_bytes(self.peer), int(self.peer_port))
        except ValueError:
            return None

    @property
    def in_order(self) -> bool:
        """Return whether responses of its connection follow one another."""
        return self.protocol.startswith("HTTP/1")


class _Bill(msgspec.Struct, frozen=True):
    customer_id: str
    metadata: dict[str, msgspec.Raw] = {}


_LINE: Final = msgspec.json.Decoder(Line)
_BILL: Final = msgspec.json.Decoder(_Bill)


def decode_line(data: bytes) -> Line:
    """Return a line of the log.

    Raises:
        ValueError: It is none; the message says why.
    """
    line = _LINE.decode(data)
    if line.at_ns < 0 or not line.id or not 0 <= line.body <= line.sent:
        raise ValueError("it has no id, or more body than bytes")
    return line


def decode_bill(text: str) -> Payer:
    """Return who pays, as ``bill_header`` wrote it.

    Raises:
        ValueError: It names nobody.
    """
    bill = _BILL.decode(text)
    metadata = {
        key: parse(canonical_raw(bytes(raw).decode())) for key, raw in bill.metadata.items()
    }
    return Payer(bill.customer_id, metadata)


def bill_header(
    *, customer_id: str, metadata: Mapping[str, object] | None = None
) -> tuple[str, str]:
    """Return a response header that tells nginx's log who pays for the response.

    Args:
        customer_id: Who pays.
        metadata: What the bytes are.

    Returns:
        The header's name, and its value: JSON in ASCII.

    Raises:
        InvalidInputError: A value breaks a rule, or all of them are too long for a header.
    """
    checked_group("", customer_id, metadata, measured=True)
    pairs = {key: msgspec.Raw(text.encode()) for key, text in canonical_mapping(metadata).items()}
    written = msgspec.json.encode({"customer_id": customer_id, "metadata": pairs}).decode()
    # JSON lets any character be written as UTF-16 in ASCII; a header may hold nothing else.
    value = "".join(char if char.isascii() else _escaped(char) for char in written)
    if len(value) > BILL_HEADER_BYTES_MAX:
        rule = f"fit a header of {BILL_HEADER_BYTES_MAX} bytes with the customer"
        raise InvalidInputError("metadata", len(value), rule)
    return BILL_HEADER, value


def address_bytes(text: str) -> bytes:
    """Return an address as 4 or 16 bytes.

    Raises:
        ValueError: It is none.
    """
    return plain_address(ipaddress.ip_address(text).packed)


def plain_address(address: bytes) -> bytes:
    """Return an IPv4 address that was written as ::ffff:a.b.c.d as 4 bytes."""
    return address.removeprefix(_MAPPED)


def family_of(address: bytes) -> int:
    """Return the address family of an address of 4 or 16 bytes."""
    return socket.AF_INET if len(address) == _IPV4_ADDRESS_BYTES else socket.AF_INET6


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
