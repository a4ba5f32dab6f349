"""Where the event engine is: a directory for the one in this process, or a ClickHouse server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.limits import STORE_ANSWER_S, STORE_CONNECT_S

DATABASE: Final = "streamgauge"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
_PATHS: Final = frozenset({"ca_cert", "client_cert", "client_cert_key"})
_FORM: Final = "store must be a URL such as clickhouse://user:password@host:8123/database"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """How the engine is reached.

    Attributes:
        options: What the client is made with.
        database: Holds our tables.
        directory: Where its files are; None across a network.
    """

    options: dict[str, Any]
    database: str
    directory: Path | None = None

    @property
    def remote(self) -> bool:
        """Return whether it is across a network."""
        return self.directory is None


def address_of(dsn: str) -> Address:
    """Return the meaning of ``chdb:///directory`` or ``clickhouse://user:password@host:port/db``.

    After the database may follow ``secure=true``, ``verify=false`` and the paths ``ca_cert``,
    ``client_cert`` and ``client_cert_key``.

    Raises:
        ConfigurationError: It is neither. The message has nothing of it: a password may be in it.
    """
    if dsn.startswith("chdb://"):
        if set(dsn) & {"?", "#"}:
            # The engine would cut it there, and keep its files in another directory.
            raise ConfigurationError(f"the path of the events, {dsn[7:]}, must hold no ? and no #")
        directory = Path(dsn.removeprefix("chdb://"))
        return Address(options={"dsn": dsn}, database=DATABASE, directory=directory)
    try:
        parts = urlsplit(dsn)
        port = parts.port
    except ValueError:
        raise ConfigurationError(_FORM) from None
    if parts.scheme != "clickhouse" or not parts.hostname:
        raise ConfigurationError(_FORM)
    more = _options(parts.query)
    secure = more.pop("secure", port in {443, 8443})
    database = unquote(parts.path.strip("/")) or DATABASE
    if not _NAME.fullmatch(database):
        raise ConfigurationError(f"store must name a database of letters, digits and _: {_FORM}")
    options = {
        "host": parts.hostname,
        "port": port or (8443 if secure else 8123),
        "interface": "https" if secure else "http",
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "connect_timeout": STORE_CONNECT_S,
        "send_receive_timeout": STORE_ANSWER_S,
        "client_name": "streamgauge",
        # A session would be locked for as long as the server believes in a broken connection.
        "autogenerate_session_id": False,
        "dedicated_pool": True,
    }
    return Address(options=options | more, database=database)


def _options(query: str) -> dict[str, Any]:
    found = dict[str, Any]()
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in {"secure", "verify"} and text.lower() in _TRUTH:
            found[name] = _TRUTH[text.lower()]
        elif name in _PATHS and Path(text).is_file():
            found[name] = text
        else:
            raise ConfigurationError(
                f"store has {name}={text!r}; secure and verify must be true or false, and "
                f"{', '.join(sorted(_PATHS))} the path of a file"
            )
    return found
