"""The API, asked from Python: paths and JSON in, JSON or an error out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from streamgauge.cli.failures import AnswerError
from streamgauge.core.errors import UnavailableError
from streamgauge.core.limits import PAGE_SIZE_MAX

Tree = dict[str, Any]
"""A JSON object; whole numbers are ``int``, all others ``Decimal``."""

Exchange = Callable[[str, str, bytes | None, Mapping[str, str]], tuple[int, bytes]]
"""Sends (method, target, body, headers); returns (status, body of the answer)."""

_SUCCESS: Final = range(200, 300)


class Client:
    """Asks one server.

    Args:
        exchange: Carries a request to the server and its answer back.
        address: How the server is named in messages.
        headers: Sent with every request; who asks.
    """

    def __init__(self, exchange: Exchange, *, address: str, headers: Mapping[str, str]) -> None:
        self._exchange = exchange
        self._headers = dict(headers)
        self.address = address

    def get(self, *path: str, **query: object) -> Any:  # noqa: ANN401 - JSON is what it is
        """Return the answer to a GET; query values that are None are left out."""
        return self.ask("GET", *path, query=query)

    def post(self, *path: str, body: object = None) -> Any:  # noqa: ANN401 - as above
        """Return the answer to a POST."""
        return self.ask("POST", *path, body=body)

    def items(self, *path: str, page_size: int = PAGE_SIZE_MAX, **query: object) -> Iterator[Tree]:
        """Yield every item of a list, page by page."""
        number = 0
        while page := self.get(*path, page_size=page_size, page_number=number, **query)["items"]:
            yield from page
            if len(page) < page_size:
                return
            number += 1

    def ask(
        self,
        method: str,
        *path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
    ) -> Any:  # noqa: ANN401 - as above
        """Return the decoded answer, or None for an empty one; path segments get encoded.

        Raises:
            AnswerError: The server refused.
            UnavailableError: No server answered.
        """
        target = "/" + "/".join(quote(segment, safe="") for segment in path)
        if given := _query(query or {}):
            target += f"?{given}"
        headers = self._headers | {"accept": "application/json"}
        sent = None
        if body is not None:
            sent = json.dumps(body, ensure_ascii=False).encode()
            headers["content-type"] = "application/json"
        status, data = self._exchange(method, target, sent, headers)
        if status not in _SUCCESS:
            raise _refusal(status, data, self.address)
        return _decode(data, self.address) if data else None


def _query(query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return urlencode(given, doseq=True)


def _decode(data: bytes, address: str) -> Any:  # noqa: ANN401 - JSON is what it is
    try:
        return json.loads(data, parse_float=Decimal)
    except ValueError as error:
        raise UnavailableError(f"{address} answered with something else than JSON") from error


def _refusal(status: int, data: bytes, address: str) -> Exception:
    try:
        answer = json.loads(data)
        word, message = str(answer["code"]), str(answer["message"])
    except (ValueError, KeyError, TypeError):
        return AnswerError(status, "", f"{address} answered with status {status}")
    return AnswerError(status, word, message)
