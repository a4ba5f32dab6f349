"""Where the pages are, and the ways in: one-time links and the session's own forms."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import MODES
from streamgauge.server.pages import invoices, keys, meters, usage
from streamgauge.server.pages.sessions import LINK_LIFE_S, Sessions
from streamgauge.server.pages.web import COOKIE, Console, Visit, redirect
from streamgauge.server.parts import Parts

_PAGES: Final = (
    ("/", "GET", usage.show),
    ("/usage", "GET", usage.tables),
    ("/meters", "GET", meters.show),
    ("/meters", "POST", meters.create),
    ("/keys", "GET", keys.show),
    ("/keys", "POST", keys.create),
    ("/keys/revoke", "POST", keys.revoke),
    ("/invoices", "GET", invoices.show),
)


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of the console: ``/app/`` and everything in it, and ``/``."""
    sessions = Sessions(parts.clock)
    console = Console(parts, sessions)
    pages = [
        Route(path, console.signed_in(view), methods=[method]) for path, method, view in _PAGES
    ]

    async def new_link(request: Request) -> Response:
        if not request.scope.get("state", {}).get("streamgauge.operator"):
            return JSONResponse({"code": "NOT_FOUND", "message": "not found"}, 404)
        path = f"/app/sign-in?token={sessions.new_link_token()}"
        return JSONResponse({"path": path, "expires_in_s": LINK_LIFE_S})

    return [
        Route("/", lambda _: RedirectResponse("/app/", 303)),
        Mount(
            "/app",
            routes=[
                *pages,
                Route("/sign-in", console.sign_in, methods=["GET"]),
                Route("/links", new_link, methods=["POST"]),
                Route("/mode", console.signed_in(_switch_mode), methods=["POST"]),
                Route("/sign-out", console.signed_in(_sign_out), methods=["POST"]),
                Mount("/static", StaticFiles(packages=[("streamgauge.server.pages", "static")])),
            ],
        ),
    ]


async def _switch_mode(visit: Visit) -> Response:
    mode = visit.form.get("mode", "")
    if mode not in MODES:
        raise InvalidInputError("mode", mode, f"be one of {', '.join(MODES)}")
    visit.session.mode = mode
    return redirect("/app/")


async def _sign_out(visit: Visit) -> Response:
    visit.console.sessions.sign_out(visit.request.cookies.get(COOKIE, ""))
    response = redirect("/app/sign-in")
    response.delete_cookie(COOKIE, path="/app")
    return response
