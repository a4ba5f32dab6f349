"""The server's options: defaults < TOML file < environment < flags."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.limits import KEEP_EVENTS_DAYS_MIN, STOP_S

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]+", re.IGNORECASE)
_LISTS: Final = frozenset({"listen.trusted_proxies", "listen.cors_origins"})
ENVIRONMENT_PREFIX: Final = "STREAMGAUGE_"


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server listens.

    Attributes:
        host: Address; only this machine by default.
        port: TCP port; 0 takes a free one.
        tls_cert: Certificate chain in PEM; with it the server speaks TLS.
        tls_key: Its private key in PEM; not needed where ``tls_cert`` holds both.
        trusted_proxies: Addresses or networks of proxies that end TLS in front of the server;
            their ``X-Forwarded-Proto`` and ``X-Forwarded-For`` are believed.
        cors_origins: Origins whose scripts may call the API with a key of their own.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key needs tls_cert")
        for network in self.trusted_proxies:
            ipaddress.ip_network(network)
        for origin in self.cors_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} must be an origin, such as https://app.example.com")


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests one key may make.

    Attributes:
        per_second: In a second; 0 is any number.
        per_minute: In a minute; 0 is any number.
    """

    per_second: Annotated[int, msgspec.Meta(ge=0)] = 0
    per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged to stderr.

    Attributes:
        level: Least level shown.
        format: One JSON object or one readable line per entry.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "text"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options.

    Attributes:
        data_dir: Everything the server keeps; one server at a time has it open.
        catalog: ``postgresql://...``, the catalog that the processes of a cluster share; a file in
            the data directory if None.
        store: ``clickhouse://...``, a database of a ClickHouse server, for events; an engine in the
            data directory if None.
        ingest_log: ``nats://host:port,host:port``, a log in NATS JetStream; a file in the data
            directory if None.
        role: What this process does of a log in NATS: accept events (``api``), bring them to the
            store (``writer``, one process), or both.
        listen: Where the server listens.
        log: What is logged.
        rate_limit: How many requests a key may make; any number by default.
        keep_events_days: How long raw events stay in the engine in the data directory before they
            are archived in Parquet files beside it; for ever if None.
        stop_timeout_s: How long a stop waits for answers and for the running insert, in seconds.
    """

    data_dir: Path
    catalog: str | None = None
    store: str | None = None
    ingest_log: str | None = None
    role: Literal["all", "api", "writer"] = "all"
    listen: Listen = Listen()
    log: Log = Log()
    rate_limit: RateLimit = RateLimit()
    keep_events_days: int | None = None
    stop_timeout_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = STOP_S

    def __post_init__(self) -> None:
        self._check_retention()
        shared = {"ingest_log": self.ingest_log, "store": self.store, "catalog": self.catalog}
        missing = [name for name, url in shared.items() if url is None]
        if self.role != "all" and missing:
            raise ValueError(
                f"role {self.role!r} needs what processes share, and {missing[0]} is not given"
            )

    def _check_retention(self) -> None:
        days = self.keep_events_days
        if days is None:
            return
        if days < KEEP_EVENTS_DAYS_MIN:
            raise ValueError(
                f"keep_events_days is {days}; it must be at least {KEEP_EVENTS_DAYS_MIN}, so that "
                "a month can be billed and looked at"
            )
        if self.store is not None:
            raise ValueError(
                "keep_events_days is for the engine in the data directory; with store, raw events "
                "stay in that server, and must: invoices read them, so let no TTL remove any"
            )


Tree = dict[str, Any]


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Return the options.

    Args:
        file: A TOML file with the fields of ``Config``.
        environ: Variables such as ``STREAMGAUGE_LISTEN_PORT``; others are left alone.
        flags: By dotted path, such as ``listen.port``; None means not given.

    Raises:
        ConfigurationError: A value does not fit; names its path and where it came from.
    """
    tree: Tree = {}
    sources: dict[str, str] = {}
    for source, values in (
        (str(file), _flat(_read(file)) if file is not None else {}),
        ("the environment", _from_environment(environ or {})),
        ("the command line", dict(flags or {})),
    ):
        for path, value in values.items():
            if value is not None:
                _put(tree, path, _listed(path, value))
                sources[path] = source
    if "data_dir" not in tree:
        raise ConfigurationError("data_dir is not given (--data-dir DIR); it must name a directory")
    try:
        return msgspec.convert(tree, Config, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        path = place.rstrip("`")
        origin = f" (from {sources[path]})" if path in sources else ""
        raise ConfigurationError(f"{path or 'configuration'}{origin}: {message}") from None


def _listed(path: str, value: object) -> object:
    """Split a text of several values, as the environment has them."""
    if path in _LISTS and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def paths() -> dict[str, str]:
    """Return every option as dotted path -> name of its environment variable."""
    return {path: ENVIRONMENT_PREFIX + path.replace(".", "_").upper() for path in _leaves(Config)}


def _leaves(kind: type[msgspec.Struct], prefix: str = "") -> list[str]:
    found = []
    for field in msgspec.structs.fields(kind):
        path = prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += _leaves(field.type, f"{path}.")
        else:
            found.append(path)
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    return {path: environ[name] for path, name in paths().items() if environ.get(name)}


def _read(file: Path) -> Tree:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from error


def _flat(tree: Tree, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _put(tree: Tree, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ConfigurationError(f"{value!r} must be a {kind.__name__}")
