"""A client of the billing server's API, as small as the demo needs it."""

from __future__ import annotations

import asyncio
import http.client
from typing import Final, TypeVar

import msgspec

from streamgauge.core.errors import UnavailableError
from streamgauge.demo.relay import LOOPBACK

T = TypeVar("T")
TIMEOUT_S: Final = 30.0
_OK: Final = range(200, 300)


class Api:
    """Asks one server on loopback; one connection per request."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self._port = port
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://{LOOPBACK}:{self._port}"

    async def get(self, path: str, answer: type[T]) -> T:
        """Return what stands at ``path``.

        Raises:
            UnavailableError: The server is not there, or answered with an error.
        """
        return await asyncio.to_thread(self._ask, "GET", path, None, answer)

    async def post(self, path: str, body: object, answer: type[T]) -> T:
        """Return the answer to ``body``.

        Raises:
            UnavailableError: The server is not there, or answered with an error.
        """
        return await asyncio.to_thread(self._ask, "POST", path, body, answer)

    def _ask(self, method: str, path: str, body: object, answer: type[T]) -> T:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=TIMEOUT_S)
        try:
            sent = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, sent, self._headers)
            response = connection.getresponse()
            text = response.read()
        except OSError as error:
            raise UnavailableError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if response.status not in _OK:
            words = text.decode(errors="replace")[:500]
            raise UnavailableError(f"{method} {path} was answered {response.status}: {words}")
        return msgspec.json.decode(text or b"null", type=answer)
