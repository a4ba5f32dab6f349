"""How an error leaves: ``{"code", "message"}`` and a status, never our internals."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from starlette.responses import Response

from streamgauge.core.errors import (
    ConflictError,
    CorruptError,
    ForbiddenError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    StreamgaugeError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedError,
)
from streamgauge.server.api.request_ids import HEADER
from streamgauge.server.catalog.errors import ArchivedError
from streamgauge.server.rates import TooManyRequestsError

_log = logging.getLogger("streamgauge.server.api")


class InvalidBodyError(StreamgaugeError):
    """The body is no JSON, or not of the operation's shape."""

    code = "INVALID_REQUEST_BODY"


class InvalidQueryError(InvalidInputError):
    """A query parameter breaks a rule."""

    code = "INVALID_QUERY_PARAMS"


class MethodNotAllowedError(StreamgaugeError):
    """The path is known, the method is not.

    Attributes:
        allow: The methods of this path, as the header has them.
    """

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"{method} is not at this path; {allow} are")
        self.allow = allow


class NoRouteError(StreamgaugeError):
    """Nothing is at this path."""

    code = "NOT_FOUND"


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What every refusal says.

    Attributes:
        code: Stable word for machines.
        message: Names the field, the value and the rule, for people.
    """

    code: str
    message: str


# The first class that fits decides, so subclasses stand before their bases.
_STATUS: Final[tuple[tuple[type[StreamgaugeError], int], ...]] = (
    (InvalidInputError, 400),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (NoRouteError, 404),
    (MethodNotAllowedError, 405),
    (ArchivedError, 410),
    (ConflictError, 409),
    (TooLargeError, 413),
    (TooManyRequestsError, 429),
    (UnsupportedError, 501),
    (UnavailableError, 503),
    (LockedError, 503),
)
# The official SDKs repeat these by their status, though asking again cannot help.
_NEVER_RETRY: Final = frozenset({409, 501})


def status(error: BaseException) -> int:
    """Return the HTTP status of ``error``; 500 for what was not raised on purpose."""
    if isinstance(error, StreamgaugeError) and error.code == InvalidBodyError.code:
        return 422
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)


def error_response(error: Exception, request_id: str) -> Response:
    """Return ``error`` as an answer; what was not raised on purpose is logged, not shown."""
    code = status(error)
    headers = {HEADER: request_id}
    if code in _NEVER_RETRY:
        headers["x-should-retry"] = "false"
    if isinstance(error, MethodNotAllowedError):
        headers["allow"] = error.allow
    if isinstance(error, TooManyRequestsError):
        headers |= error.allowance.headers()
    if isinstance(error, UnavailableError | TooManyRequestsError):
        headers["retry-after"] = str(error.retry_after_s)
    if code == 401:  # noqa: PLR2004 - HTTP asks a 401 to name its scheme
        headers["www-authenticate"] = "Bearer"
    if code == 500 or isinstance(error, CorruptError):  # noqa: PLR2004 - the status of a bug
        _log.error("request %s failed", request_id, exc_info=error)
        body = ErrorBody(
            code="INTERNAL_SERVER_ERROR", message=f"request {request_id} failed; the log says why"
        )
    else:
        assert isinstance(error, StreamgaugeError), "other errors have status 500"
        body = ErrorBody(code=error.code, message=str(error))
    return Response(msgspec.json.encode(body), code, headers, media_type="application/json")
