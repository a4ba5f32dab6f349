"""HTTP for sinks; the only module that knows urllib3, which it imports at the first request.

No proxy of the environment is used, no redirect followed (it would carry the key elsewhere), no
status retried: what an answer means is the sink's to say.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from streamgauge._version import __version__
from streamgauge.core.errors import ConfigurationError
from streamgauge.core.limits import ANSWER_BYTES_MAX, ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S
from streamgauge.sinks.base import RetryLaterError

if TYPE_CHECKING:
    import urllib3

USER_AGENT: Final = (
    f"streamgauge/{__version__} python/{sys.version_info.major}.{sys.version_info.minor}"
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: By lower-case name; repeated ones joined by commas.
        body: The content, shorter than ``ANSWER_BYTES_MAX``.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class HttpTransport:
    """One kept-alive connection to one address; used by one thread at a time.

    Args:
        address: Scheme, host, port and optional path prefix, such as ``https://billing.example``.
        connect_timeout_s: For the connection and the TLS handshake.
        answer_timeout_s: From the last byte sent to the last byte of the answer.
        monotonic: Seconds that never go back.

    Raises:
        ConfigurationError: The address is no http(s) address, or holds a user, query or fragment.
    """

    def __init__(
        self,
        address: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = check_address(address)
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._monotonic = monotonic
        self._pool: urllib3.PoolManager | None = None
        self._pid = 0

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send ``body`` and return the answer, whatever its status.

        Raises:
            RetryLaterError: No whole answer came; the request may have arrived.
        """
        return self._request("POST", path, body, headers)

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a question, whatever its status.

        Raises:
            RetryLaterError: No whole answer came.
        """
        return self._request("GET", path, None, headers)

    def close(self) -> None:
        """Close the connection."""
        if self._pool is not None and self._pid == os.getpid():
            self._pool.clear()
        self._pool = None

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        pool, kept_alive = self._open_pool()
        try:
            return self._exchange(pool, method, path, body, headers)
        except ConnectionError as error:
            # The other side may close a kept-alive connection just as it is used again.
            if not kept_alive:
                raise RetryLaterError(self._failure(error)) from error
        try:
            return self._exchange(pool, method, path, body, headers)
        except ConnectionError as error:
            raise RetryLaterError(self._failure(error)) from error

    def _open_pool(self) -> tuple[urllib3.PoolManager, bool]:
        # A forked child must not speak on its parent's connection.
        if self._pool is not None and self._pid == os.getpid():
            return self._pool, True
        import urllib3  # noqa: PLC0415 - importing it costs more than the rest of the SDK

        self._pid = os.getpid()
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False)
        return self._pool, False

    def _exchange(
        self,
        pool: urllib3.PoolManager,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        from urllib3 import Timeout, exceptions  # noqa: PLC0415 - as above

        deadline_s = self._monotonic() + self._connect_timeout_s + self._answer_timeout_s
        try:
            response = pool.request(
                method,
                self.address + path,
                body=body,
                headers={"user-agent": USER_AGENT, "accept": "application/json", **headers},
                timeout=Timeout(connect=self._connect_timeout_s, read=self._answer_timeout_s),
                redirect=False,
                preload_content=False,
            )
            content = self._read(response, deadline_s)
        except exceptions.ProtocolError as error:
            raise ConnectionError(str(error)) from error
        except (exceptions.NewConnectionError, exceptions.ConnectTimeoutError) as error:
            raise RetryLaterError(self._failure(error), nothing_arrived=True) from error
        except (exceptions.HTTPError, OSError) as error:
            raise RetryLaterError(self._failure(error)) from error
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=content,
        )

    def _read(self, response: urllib3.BaseHTTPResponse, deadline_s: float) -> bytes:
        content = bytearray()
        while part := response.read1(ANSWER_BYTES_MAX - len(content)):
            content += part
            if len(content) == ANSWER_BYTES_MAX or self._monotonic() > deadline_s:
                # What is left of it must not be taken for the next answer.
                response.close()
                raise RetryLaterError(f"{self.address} did not finish its answer")
        response.release_conn()
        return bytes(content)

    def _failure(self, error: Exception) -> str:
        return f"{self.address} gave no answer: {error}"


def check_address(address: object) -> str:
    """Return an http(s) address without its trailing slash.

    Raises:
        ConfigurationError: It is none, or holds a user, query or fragment.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415 - keeps the import of the package light

    try:
        parts = urlsplit(address) if isinstance(address, str) else None
        port_known = parts is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, port_known = None, False
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"base_url is {address!r}; it must be an address such as http://127.0.0.1:8000"
        )
    if not port_known or parts.username or parts.password or parts.query or parts.fragment:
        # The address may hold a secret here, so it is not shown.
        raise ConfigurationError(
            f"base_url for {parts.hostname} must have no user, password, query or fragment; "
            "the key goes into api_key"
        )
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")
