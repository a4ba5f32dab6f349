"""Identifiers: event ids without gaps per writer, and sortable ids for everything else."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Final

Entropy = Callable[[int], bytes]
"""Gives that many random bytes; ``os.urandom`` unless a test hands in another."""

_EVENT_ID: Final = re.compile(r"([0-9a-f]{32})-(0|[1-9][0-9]{0,17})")
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BYTES: Final = 10
_TEXT_CHARS: Final = 26


def new_writer_id(entropy: Entropy = os.urandom) -> str:
    """Return a random 128-bit writer id as 32 hexadecimal digits."""
    return entropy(16).hex()


def event_id(writer_id: str, sequence: int) -> str:
    """Return the id of a writer's ``sequence``-th event."""
    return f"{writer_id}-{sequence}"


def split_event_id(event_id: str) -> tuple[str, int] | None:
    """Return (writer id, sequence) of an id minted by ``event_id``, or None for a foreign one."""
    match = _EVENT_ID.fullmatch(event_id)
    return (match[1], int(match[2])) if match else None


def new_id(
    prefix: str, *, time_ns: Callable[[], int] = time.time_ns, entropy: Entropy = os.urandom
) -> str:
    """Return ``prefix_`` and 26 characters that sort by creation time (as a ULID does)."""
    milliseconds = time_ns() // 1_000_000
    number = (milliseconds << 8 * _RANDOM_BYTES) | int.from_bytes(entropy(_RANDOM_BYTES))
    text = "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_TEXT_CHARS)))
    return f"{prefix}_{text}"
