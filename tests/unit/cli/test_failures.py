from __future__ import annotations

import pytest

from streamgauge.cli.failures import MEANINGS, AnswerError, ExitStatus, exit_status, line
from streamgauge.core import errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInputError("a", 1, "be 2"), 2),
        (errors.ConfigurationError("x"), 2),
        (errors.MissingExtraError("cli", "click"), 1),
        (errors.TooLargeError("x"), 2),
        (errors.NotFoundError("meter", "x"), 3),
        (errors.UnauthorizedError("x"), 4),
        (errors.ForbiddenError("x"), 4),
        (errors.UnavailableError("x"), 5),
        (errors.LockedError("x"), 5),
        (errors.ConflictError("x"), 1),
        (errors.UnsupportedError("x"), 1),
        (errors.CorruptError("x", 1, "y"), 1),
        (OSError("x"), 1),
    ],
)
def test_every_kind_of_error_has_its_status(error: Exception, status: int) -> None:
    assert exit_status(error) == status


@pytest.mark.parametrize(
    ("http", "status"),
    [
        *((status, 2) for status in (400, 413, 422)),
        *((status, 3) for status in (404, 410)),
        *((status, 4) for status in (401, 403)),
        *((status, 5) for status in (429, 502, 503)),
        *((status, 1) for status in (409, 415, 500, 501)),
    ],
)
def test_every_refusal_of_a_server_has_its_status(http: int, status: int) -> None:
    assert exit_status(AnswerError(http, "X", "x")) == status


def test_every_status_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitStatus)


def test_a_message_is_one_line_that_a_terminal_shows_as_it_is() -> None:
    assert line("a\n b\x1b[2J\tc") == "a b\\x1b[2J c"
