"""Who pays, by the session that a middleware of the framework has loaded."""

from __future__ import annotations

from collections.abc import Callable

from streamgauge.streams.view import RequestView


def from_session(key: str = "customer_id") -> Callable[[RequestView], str | None]:
    """Return a resolver that reads one value of the session.

    Sessions of Starlette, FastAPI and Litestar are seen from the middleware; Django's through
    ``view_of``. Flask's are gone when bytes are sent: use ``from_cookie`` or ``bill_to``.

    Args:
        key: Where the application keeps the customer; a session without it is nobody's.
    """

    def resolve(request: RequestView) -> str | None:
        # Whatever it is, it is checked where it is used.
        customer_id: str | None = request.session.get(key)
        return customer_id

    return resolve
