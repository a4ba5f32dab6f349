"""Bill the bytes of an aiohttp.web application."""

from __future__ import annotations

from streamgauge.streams.aiohttp_web import StreamBytesMiddleware
from streamgauge.streams.payers import bill_to

__all__ = ["StreamBytesMiddleware", "bill_to"]
