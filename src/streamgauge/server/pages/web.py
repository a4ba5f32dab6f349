"""The frame of every page: sessions, CSRF, headers, forms and templates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from streamgauge.core.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StreamgaugeError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from streamgauge.server.pages.sessions import SESSION_LIFE_S, Session, Sessions
from streamgauge.server.parts import Parts

COOKIE: Final = "streamgauge_session"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# The largest form here has eight short fields.
_FORM_BYTES_MAX: Final = 64 * 1024
_STATUS: Final = {
    InvalidInputError: 400,
    ConflictError: 409,
    NotFoundError: 404,
    TooLargeError: 413,
    UnsupportedError: 501,
    UnavailableError: 503,
}

View = Callable[["Visit"], Awaitable[Response]]


class Visit:
    """One request of a signed-in browser.

    Attributes:
        request: As it came.
        session: Whose it is.
        form: The posted fields; empty for a GET.
        console: The frame it is answered in.
    """

    def __init__(
        self, console: Console, request: Request, session: Session, form: dict[str, str]
    ) -> None:
        self.console = console
        self.request = request
        self.session = session
        self.form = form

    @property
    def parts(self) -> Parts:
        """Return the running server."""
        return self.console.parts

    @property
    def scope(self) -> tuple[str, str]:
        """Return (business id, mode) of what this session sees."""
        return self.parts.catalog.business_id, self.session.mode

    def page(self, template: str, *, status: int = 200, **values: object) -> Response:
        """Return a rendered page."""
        return self.console.render(
            template, status=status, session=self.session, here=self.request.url.path, **values
        )


class Console:
    """Answers requests for pages.

    Args:
        parts: The running server.
        sessions: Who is signed in.
    """

    def __init__(self, parts: Parts, sessions: Sessions) -> None:
        self.parts = parts
        self.sessions = sessions
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("streamgauge.server.pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, template: str, *, status: int = 200, **values: object) -> Response:
        """Return a rendered template with the headers every page has."""
        values = {"session": None, "here": "", "error": None} | values
        html = self._templates.get_template(template).render(values)
        return HTMLResponse(html, status, HEADERS)

    def signed_in(self, view: View) -> Callable[[Request], Awaitable[Response]]:
        """Wrap ``view``: a session is needed, and for a POST also its CSRF token."""

        async def answer(request: Request) -> Response:
            session = self.sessions.find(request.cookies.get(COOKIE, ""))
            if session is None:
                return redirect("/app/sign-in")
            try:
                form = await _form(request) if request.method == "POST" else {}
            except TooLargeError as error:
                return self.render("refused.html", status=413, session=session, error=str(error))
            if request.method == "POST" and not _is_own(request, session, form):
                return self.render("refused.html", status=403)
            visit = Visit(self, request, session, form)
            try:
                return await view(visit)
            except StreamgaugeError as error:
                return visit.page("refused.html", status=_status(error), error=str(error))

        return answer

    async def sign_in(self, request: Request) -> Response:
        """Trade a one-time link for a session; without one, say where links come from."""
        link_token = request.query_params.get("token", "")
        token = self.sessions.sign_in(link_token) if link_token else None
        if token is None:
            error = "This link was used already, or is older than ten minutes."
            return self.render(
                "sign_in.html", status=403 if link_token else 200, error=link_token and error
            )
        response = redirect("/app/")
        response.set_cookie(
            COOKIE,
            token,
            max_age=SESSION_LIFE_S,
            path="/app",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response


def redirect(path: str) -> RedirectResponse:
    """Return a redirect that a browser follows with GET."""
    return RedirectResponse(path, 303, HEADERS)


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES_MAX:
            raise TooLargeError(f"a form has at most {_FORM_BYTES_MAX} bytes")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _is_own(request: Request, session: Session, form: dict[str, str]) -> bool:
    """Tell whether a POST came from a page of ours in this session.

    Hosts are compared and schemes are not: a proxy that ends TLS speaks plain HTTP to us.
    """
    origin = request.headers.get("origin")
    from_here = origin is None or urlsplit(origin).netloc == request.url.netloc
    return from_here and session.allows(form.get("csrf", ""))


def _status(error: StreamgaugeError) -> int:
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
