"""What a spool says of itself: whose it is, where its events go, how far they got."""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from streamgauge.core.errors import ConfigurationError, CorruptError
from streamgauge.core.files import Directory, read_all

IDENTITY_NAME: Final = "spool.json"
CHECKPOINT_NAME: Final = "checkpoint"
LOCK_NAME: Final = "lock"
DEAD_LETTERS_NAME: Final = "dead-letters"
HELD_NAME: Final = "held"
RESERVE_NAME: Final = "reserve"
RELEASED_NAME: Final = "released"
FORMAT: Final = 2
"""Since 2 a spool may be delivered by another process than its own; 1 is read, too."""
_FORMATS_READ: Final = (1, 2)


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where events go, without any key; a spool is adopted only by its equal.

    Attributes:
        address: What the sink says of itself.
        mode: ``test_mode`` or ``live_mode``.
    """

    address: str
    mode: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``spool.json``."""

    format: int
    writer_id: str
    destination: Destination


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What sinks have answered to the events of one spool since it was made.

    Attributes:
        acknowledged_events: Taken.
        acknowledged_bytes: As above, in bytes.
        refused_events: Never to be taken.
        refused_bytes: As above, in bytes.
        held_bytes: Of the refused, kept aside because they came too late.
        restamped_bytes: Of the acknowledged, taken under a later timestamp than measured.
        crossed_bytes: Of the restamped, taken under another UTC day than measured.
    """

    acknowledged_events: int = 0
    acknowledged_bytes: int = 0
    refused_events: int = 0
    refused_bytes: int = 0
    held_bytes: int = 0
    restamped_bytes: int = 0
    crossed_bytes: int = 0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a spool was delivered, written before anything delivered is removed.

    Attributes:
        delivered: The number through which every event is settled.
        sequence: The highest sequence in an event id.
        segment: Where event ``delivered`` is in the journal; 0: not known.
        offset: As above, within the segment.
        settled: What became of them.
    """

    format: int = FORMAT
    delivered: int = 0
    sequence: int = 0
    segment: int = 0
    offset: int = 0
    settled: Settled = Settled()


def write_identity(directory: Directory, writer_id: str, destination: Destination) -> Identity:
    """Say once, durably, whose spool this is."""
    identity = Identity(format=FORMAT, writer_id=writer_id, destination=destination)
    directory.replace(IDENTITY_NAME, msgspec.json.encode(identity))
    return identity


def read_identity(directory: Directory) -> Identity:
    """Return whose spool this is.

    Raises:
        FileNotFoundError: It does not say.
        ConfigurationError: A newer version wrote it.
        CorruptError: It is no identity.
    """
    text = _read(directory, IDENTITY_NAME)
    try:
        _check_format(text)
        return msgspec.json.decode(text, type=Identity)
    except msgspec.MsgspecError as error:
        raise CorruptError(IDENTITY_NAME, 0, str(error)) from None


def write_checkpoint(directory: Directory, checkpoint: Checkpoint) -> None:
    """Put a checkpoint on disk in place of the last."""
    directory.replace(CHECKPOINT_NAME, msgspec.json.encode(checkpoint))


def read_checkpoint(directory: Directory) -> Checkpoint:
    """Return the last checkpoint, or that of a spool that delivered nothing.

    Raises:
        ConfigurationError: A newer version wrote it.
        CorruptError: It is no checkpoint.
    """
    try:
        text = _read(directory, CHECKPOINT_NAME)
    except FileNotFoundError:
        return Checkpoint()
    try:
        _check_format(text)
        return msgspec.json.decode(text, type=Checkpoint)
    except msgspec.MsgspecError as error:
        raise CorruptError(CHECKPOINT_NAME, 0, str(error)) from None


class _Format(msgspec.Struct, frozen=True):
    format: int


def _check_format(text: bytes) -> None:
    found = msgspec.json.decode(text, type=_Format).format
    if found not in _FORMATS_READ:
        read = " and ".join(map(str, _FORMATS_READ))
        raise ConfigurationError(
            f"the spool has format {found}, of a newer version; this one reads {read}"
        )


def _read(directory: Directory, name: str) -> bytes:
    with contextlib.closing(directory.open(name)) as file:
        return read_all(file)
