"""Every error this package raises on purpose.

    StreamgaugeError
    |-- InvalidInputError        a value breaks a rule: names the field, the value and the rule
    |-- ConfigurationError       an option, a key or a destination does not fit
    |   `-- MissingExtraError    an optional part is not installed: names the command
    |-- CorruptError             bytes on disk are not what was written: names segment and offset
    |-- LockedError              another process holds what was asked for
    |-- UnauthorizedError        no key, a wrong key or a revoked key
    |-- ForbiddenError           the key may not do this
    |-- NotFoundError            nothing has this id
    |-- ConflictError            the state of a thing forbids the change
    |-- TooLargeError            a body or a batch is over its limit
    |-- UnsupportedError         part of the contract that is not here yet: names it
    `-- UnavailableError         a part is full, closed or broken; nothing was lost, try again

``code`` is the word on the wire (Dodo's where it has one) and the label in metrics.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

VALUE_SHOWN_CHARS_MAX = 80


def shown(value: object) -> str:
    """Return ``value`` as an error message may carry it: quoted, and cut when long."""
    try:
        text = str(value) if isinstance(value, Decimal) else repr(value)
    except (RecursionError, ValueError):
        # Nested too deep, or an integer of more digits than Python writes.
        text = f"too large a value of type {type(value).__name__}"
    if len(text) <= VALUE_SHOWN_CHARS_MAX:
        return text
    return f"{text[:VALUE_SHOWN_CHARS_MAX]}... ({len(text)} characters)"


class StreamgaugeError(Exception):
    """Base of all errors raised here on purpose."""

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"


class InvalidInputError(StreamgaugeError, ValueError):
    """A value breaks a rule; nothing was changed.

    Attributes:
        field: Path of the value, such as ``metadata.quality`` or ``events[3].customer_id``.
        value: The value as given.
        rule: The rule it breaks, as a phrase that follows "must".
    """

    code = "INVALID_REQUEST_PARAMETERS"

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field} is {shown(value)}; it must {rule}")
        self.field = field
        self.value = value
        self.rule = rule


class ConfigurationError(StreamgaugeError):
    """An option, a key or a destination does not fit the others."""

    code = "CONFIGURATION"


class MissingExtraError(ConfigurationError, ImportError):
    """An optional part of the package is not installed."""

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(
            f"{module} is not installed; it comes with: pip install 'streamgauge[{extra}]'"
        )
        self.extra = extra


class CorruptError(StreamgaugeError):
    """Bytes on disk are not what was written.

    Attributes:
        where: The file or segment.
        offset: Byte offset of the first bad byte.
        reason: What is wrong there.
    """

    code = "CORRUPT"

    def __init__(self, where: str, offset: int, reason: str) -> None:
        super().__init__(f"{where} is corrupt at byte {offset}: {reason}")
        self.where = where
        self.offset = offset
        self.reason = reason


class LockedError(StreamgaugeError):
    """Another process holds what was asked for."""

    code = "LOCKED"


class UnauthorizedError(StreamgaugeError):
    """No key, a wrong key or a revoked key."""

    code = "UNAUTHORIZED"


class ForbiddenError(StreamgaugeError):
    """The key is known but may not do this."""

    code = "FORBIDDEN"


class NotFoundError(StreamgaugeError):
    """Nothing has this id."""

    code = "NOT_FOUND"

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"no {kind} has the id {shown(id)}")
        self.kind = kind
        self.id = id


class ConflictError(StreamgaugeError):
    """The state of a thing forbids the change."""

    code = "UNSUPPORTED_ACTION"


class TooLargeError(StreamgaugeError):
    """A body or a batch is over its limit."""

    code = "PAYLOAD_TOO_LARGE"


class UnsupportedError(StreamgaugeError):
    """A part of the contract that is not here yet; the message names it."""

    code = "NOT_IMPLEMENTED"


class UnavailableError(StreamgaugeError):
    """A part is full, closed or broken for now; nothing was lost by asking.

    Attributes:
        retry_after_s: When asking again makes sense.
    """

    code = "UNAVAILABLE"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
