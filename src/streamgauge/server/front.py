"""What stands before the application on the TCP socket: TLS, trusted proxies, CORS, a warning."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.config import Listen

_log = logging.getLogger("streamgauge.server")

_ASKED_HEADERS: Final = ("authorization", "content-type", "content-encoding")
_TOLD_HEADERS: Final = (
    "x-request-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
)
_METHODS: Final = ("GET", "POST", "PATCH", "PUT", "DELETE")
_PREFLIGHT_S: Final = 600


def tls_context(listen: Listen) -> ssl.SSLContext | None:
    """Return what speaks TLS 1.2 and newer with the certificate, or None without one.

    Raises:
        ConfigurationError: The files cannot be read, or do not belong together.
    """
    if listen.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password, a key that has one is refused instead of asked for at a terminal.
        context.load_cert_chain(listen.tls_cert, listen.tls_key, password=lambda: b"")
    except OSError as error:
        key = "" if listen.tls_key is None else f" and listen.tls_key {listen.tls_key}"
        raise ConfigurationError(
            f"listen.tls_cert {listen.tls_cert}{key} cannot be used: {error}"
        ) from error
    return context


def with_cors(app: ASGIApp, listen: Listen) -> ASGIApp:
    """Return ``app``, which scripts of the chosen origins may call; no cookie goes with it."""
    if not listen.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=listen.cors_origins,
        allow_methods=_METHODS,
        allow_headers=_ASKED_HEADERS,
        expose_headers=_TOLD_HEADERS,
        max_age=_PREFLIGHT_S,
    )


def warn_of_plain_http(listen: Listen, host: str) -> None:
    """Say so if keys may travel through a network as anybody can read them.

    Args:
        listen: How the server listens.
        host: The address it is bound to.
    """
    if listen.tls_cert is None and not listen.trusted_proxies and not _is_loopback(host):
        _log.warning(
            "%s is reached from other machines, and keys travel unencrypted: give --tls-cert, "
            "or put a proxy that speaks TLS in front and name it with --trusted-proxy",
            host,
        )


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback
