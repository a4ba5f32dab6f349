"""Which server a command asks, and as whom."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from streamgauge.cli.client import Client, Exchange
from streamgauge.cli.output import hint
from streamgauge.cli.transport import over_tcp, over_unix_socket
from streamgauge.core.errors import ConfigurationError, UnauthorizedError, UnavailableError
from streamgauge.core.events import MODES
from streamgauge.server.layout import ADMIN_SOCKET

DEFAULT_URL: Final = "http://127.0.0.1:8000"
URL_VARIABLE: Final = "STREAMGAUGE_URL"
KEY_VARIABLES: Final = ("STREAMGAUGE_API_KEY", "DODO_PAYMENTS_API_KEY")
_MODE_HEADER: Final = "x-streamgauge-mode"
# Keys of Dodo's own begin so; they open an account there and are not for us to send anywhere.
_FOREIGN_KEYS: Final = ("dodo_test_", "dodo_live_")


def asks_server(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--url``, ``--data-dir`` and ``--mode`` as the parameter ``client``."""

    @click.option(
        "--url",
        metavar="URL",
        help=f"The server; else {URL_VARIABLE}, else {DEFAULT_URL}. The key comes from "
        f"{' or '.join(KEY_VARIABLES)}.",
    )
    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Work on this directory as its operator, without a key; through its server if one "
        "runs.",
    )
    @click.option("--mode", type=click.Choice(MODES), help="With --data-dir.  [default: test_mode]")
    @functools.wraps(function)
    def command(
        *, url: str | None, data_dir: Path | None, mode: str | None, **others: object
    ) -> None:
        with choose(url, data_dir, mode) as client:
            function(client=client, **others)

    return command


@contextlib.contextmanager
def choose(url: str | None, data_dir: Path | None, mode: str | None) -> Iterator[Client]:
    """Give a client for the options given.

    Raises:
        ConfigurationError: The options do not fit together.
        UnauthorizedError: A key is needed and there is none.
        LockedError: Another process holds the data directory, and does not answer.
    """
    if data_dir is not None:
        if url is not None:
            raise ConfigurationError("--url and --data-dir name two servers; give one of them")
        with operator_exchange(data_dir) as exchange:
            headers = {_MODE_HEADER: mode or MODES[0]}
            yield Client(exchange, address=f"the server on {data_dir}", headers=headers)
        return
    if mode is not None:
        raise ConfigurationError("--mode goes with --data-dir; a key has its mode in it")
    yield key_client(url or os.environ.get(URL_VARIABLE) or DEFAULT_URL)


@contextlib.contextmanager
def operator_exchange(data_dir: Path) -> Iterator[Exchange]:
    """Give what asks the server on ``data_dir``, or the same parts in here if none runs."""
    path = data_dir / ADMIN_SOCKET
    if is_answered(path):
        yield over_unix_socket(path)
        return
    from streamgauge.cli.local import opened  # noqa: PLC0415 - the engine takes its time to load

    with opened(data_dir) as exchange:
        yield exchange


def is_answered(path: Path) -> bool:
    """Tell whether a server listens on the unix socket at ``path``."""
    try:
        status, _ = over_unix_socket(path)("GET", "/healthz", None, {})
    except UnavailableError:
        return False
    return status == HTTPStatus.OK


def key_client(url: str) -> Client:
    """Return a client of the server at ``url`` with the key of the environment."""
    exchange = over_tcp(url, field="--url")
    variable = next((name for name in KEY_VARIABLES if os.environ.get(name)), None)
    if variable is None:
        raise UnauthorizedError(
            f"no key: set {' or '.join(KEY_VARIABLES)} (streamgauge keys create makes one), "
            "or name the server's directory with --data-dir"
        )
    key = os.environ[variable].strip()
    if key.startswith(_FOREIGN_KEYS):
        raise UnauthorizedError(
            f"{variable} holds a key of Dodo's own, which was not sent; set STREAMGAUGE_API_KEY "
            "to a key of this server"
        )
    if not key.isascii() or not key.isprintable():
        raise UnauthorizedError(f"{variable} holds characters that no key has")
    if urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname or ""):
        hint(f"Warning: the key travels to {url} unencrypted.")
    return Client(exchange, address=url, headers={"authorization": f"Bearer {key}"})


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine, as far as its name says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
