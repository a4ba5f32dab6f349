"""``nats://host:port,host:port/name?replicas=3``: where a cluster's log is."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import parse_qsl

import msgspec

from streamgauge.core.errors import ConfigurationError
from streamgauge.core.limits import INGEST_LOG_BYTES_MAX

_URL: Final = re.compile(
    r"(?P<scheme>nats|tls)://(?P<servers>[^/?#]+)(?:/(?P<name>[^?#]*))?(?:\?(?P<options>[^#]*))?"
)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NAME_DEFAULT: Final = "streamgauge"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may follow the question mark.

    Attributes:
        replicas: How many nodes keep each message, of streams that are made.
        bytes_max: What the log may hold until the store has it, of a stream that is made; more than
            what is kept after an insert, and a reserve.
    """

    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3
    bytes_max: Annotated[int, msgspec.Meta(ge=2**30)] = INGEST_LOG_BYTES_MAX


class NatsUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log is.

    Attributes:
        servers: One URL for each.
        name: What the names of its streams begin with; ``streamgauge`` if it is not given.
        options: How its streams are made.
    """

    servers: list[str]
    name: str
    options: Options


def parse(text: str) -> NatsUrl:
    """Return what ``text`` says; a user and password before the first ``@`` count for all servers.

    Raises:
        ConfigurationError: It is no such URL; what it says of a password is not shown.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise _error("be nats://host:port,host:port, and may have /name and ?replicas=3 after it")
    name = match["name"] or _NAME_DEFAULT
    if not _NAME.fullmatch(name):
        raise _error(f"name a log by 1 to 32 letters, digits, - or _, not {name!r}")
    try:
        pairs = dict(parse_qsl(match["options"] or "", strict_parsing=bool(match["options"])))
        options = msgspec.convert(pairs, Options, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise _error(f"have only replicas and bytes_max after the question mark: {error}") from None
    login, at, hosts = match["servers"].rpartition("@")
    servers = [f"{match['scheme']}://{login}{at}{host.strip()}" for host in hosts.split(",")]
    return NatsUrl(servers=servers, name=name, options=options)


def _error(rule: str) -> ConfigurationError:
    return ConfigurationError(f"ingest_log (--log) must {rule}")
