"""Lines of Mosquitto's log that name a client and where it came from."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from streamgauge.streams.nginx.lines import address_bytes

Peer = tuple[bytes, int]
"""A client's address, of 4 or 16 bytes, and port."""

# The first word of a line is the broker's time; what clients choose stands behind the address, and
# the last parenthesis is the broker's again.
_CONNECTED: Final = re.compile(
    r"(?:[\d:TZ+. -]+: )?New client connected from (\S+):(\d{1,5}) as (.*)"
    r" \(p\d+, c[01], k\d+(?:, u'(.*)')?\)\.\s*"
)


class BrokerClient(NamedTuple):
    """A client, as the broker's log names it.

    Attributes:
        id: Its client id, which it may have chosen freely.
        username: Whom the broker has authenticated; None: nobody.
        address: Where it came from.
    """

    id: str
    username: str | None
    address: str


def decode_line(line: str) -> tuple[Peer, BrokerClient] | None:
    """Return the client that a line says has connected, and from where; None: it says none."""
    found = _CONNECTED.fullmatch(line)
    if found is None:
        return None
    address, port, id, username = found.groups()
    try:
        peer = (address_bytes(address), int(port))
    except ValueError:
        return None
    return peer, BrokerClient(id, username, address)
