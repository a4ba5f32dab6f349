"""Bill the bytes of an ASGI application: FastAPI, Starlette, Django, Litestar, Quart."""

from __future__ import annotations

from streamgauge.streams.middleware import StreamBytesMiddleware
from streamgauge.streams.payers import bill_to

__all__ = ["StreamBytesMiddleware", "bill_to"]
