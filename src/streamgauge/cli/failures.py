"""Failures as one line on stderr and an exit status."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from streamgauge.core.errors import (
    ConfigurationError,
    ForbiddenError,
    InvalidInputError,
    LockedError,
    MissingExtraError,
    NotFoundError,
    StreamgaugeError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)


class ExitStatus(IntEnum):
    """What a command's exit status says."""

    DONE = 0
    FAILED = 1
    INVALID = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: Final = {
    ExitStatus.DONE: "done",
    ExitStatus.FAILED: "failed, for a reason that has no number of its own",
    ExitStatus.INVALID: "wrong usage, or a value that breaks a rule; nothing was changed",
    ExitStatus.NOT_FOUND: "nothing has this id or name",
    ExitStatus.NOT_ALLOWED: "no key, a wrong key, or a key that may not do this",
    ExitStatus.UNAVAILABLE: "no server answers, or it cannot for now; try again",
    ExitStatus.INTERRUPTED: "interrupted with Ctrl-C",
    ExitStatus.PIPE_CLOSED: "the reader of the output went away",
}


class AnswerError(StreamgaugeError):
    """A server refused, in its own words.

    Attributes:
        status: HTTP status.
        word: The ``code`` of the answer.
    """

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = word


class ChecksFailedError(StreamgaugeError):
    """What was looked at is not in order; the findings are on stdout."""


# The first class that fits decides, so subclasses stand before their bases.
_BY_KIND: Final[tuple[tuple[type[Exception], ExitStatus], ...]] = (
    (MissingExtraError, ExitStatus.FAILED),
    (InvalidInputError, ExitStatus.INVALID),
    (ConfigurationError, ExitStatus.INVALID),
    (TooLargeError, ExitStatus.INVALID),
    (NotFoundError, ExitStatus.NOT_FOUND),
    (UnauthorizedError, ExitStatus.NOT_ALLOWED),
    (ForbiddenError, ExitStatus.NOT_ALLOWED),
    (UnavailableError, ExitStatus.UNAVAILABLE),
    (LockedError, ExitStatus.UNAVAILABLE),
)
_BY_STATUS: Final = {
    400: ExitStatus.INVALID,
    401: ExitStatus.NOT_ALLOWED,
    403: ExitStatus.NOT_ALLOWED,
    404: ExitStatus.NOT_FOUND,
    410: ExitStatus.NOT_FOUND,
    413: ExitStatus.INVALID,
    422: ExitStatus.INVALID,
    429: ExitStatus.UNAVAILABLE,
    500: ExitStatus.FAILED,
    501: ExitStatus.FAILED,
}
_HTTP_SERVER_ERROR: Final = 500


def exit_status(error: Exception) -> ExitStatus:
    """Return the exit status of a command that ended in ``error``."""
    if isinstance(error, AnswerError):
        later = error.status >= _HTTP_SERVER_ERROR
        fallback = ExitStatus.UNAVAILABLE if later else ExitStatus.FAILED
        return _BY_STATUS.get(error.status, fallback)
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), ExitStatus.FAILED)


def line(message: str) -> str:
    """Return ``message`` as one line that a terminal shows as it is."""
    return visible(" ".join(message.split()))


def visible(text: str) -> str:
    """Return ``text`` with what a terminal would obey written out as an escape of Python's."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
