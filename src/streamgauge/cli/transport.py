"""HTTP over TCP or over the unix socket of a data directory.

Every request has a connection of its own, a deadline, and an answer of bounded size; redirects
and proxies are not followed, so a key goes to the named address only.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streamgauge.cli.client import Exchange
from streamgauge.core.errors import InvalidInputError, UnavailableError
from streamgauge.core.limits import CLI_ANSWER_BYTES_MAX

# Previews and usage wait for the writer, at most some 30 s; beyond, something is broken.
_ANSWER_S_MAX: Final = 90.0
# sun_path holds 108 bytes on Linux, its end included.
_SOCKET_PATH_BYTES_MAX: Final = 107

_Connect = Callable[[], http.client.HTTPConnection]


def over_tcp(url: str, *, field: str = "--url") -> Exchange:
    """Return what asks the server at ``url``, such as ``http://127.0.0.1:8000``.

    Raises:
        InvalidInputError: It is no such address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in {"http", "https"} or not host or parts.path.strip("/") or parts.query:
        raise InvalidInputError(field, url, "be an address such as http://127.0.0.1:8000")
    if parts.username is not None:
        raise InvalidInputError(field, parts.hostname, "carry no user name or password")
    if parts.scheme == "http":
        return _exchange(url, lambda: http.client.HTTPConnection(host, port, timeout=_ANSWER_S_MAX))
    context = ssl.create_default_context()
    return _exchange(
        url,
        lambda: http.client.HTTPSConnection(host, port, timeout=_ANSWER_S_MAX, context=context),
    )


def over_unix_socket(path: Path) -> Exchange:
    """Return what asks the server behind the socket at ``path``."""
    return _exchange(str(path), lambda: _UnixConnection(path))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_S_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_S_MAX)
        if len(os.fsencode(self._path)) <= _SOCKET_PATH_BYTES_MAX:
            self.sock.connect(str(self._path))
            return
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


def _exchange(address: str, connect: _Connect) -> Exchange:
    def exchange(
        method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection = connect()
        try:
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read(CLI_ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"no answer from {address}: {_reason(error)}") from error
        finally:
            connection.close()
        if len(content) > CLI_ANSWER_BYTES_MAX:
            raise UnavailableError(
                f"the answer of {address} is over {CLI_ANSWER_BYTES_MAX} bytes; ask for less"
            )
        return answer.status, content

    return exchange


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came within {_ANSWER_S_MAX:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; streamgauge serve starts a server"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
