"""Bill the bytes of a WSGI application: Flask, Django, Bottle, Falcon, Pyramid."""

from __future__ import annotations

from streamgauge.streams.payers import bill_to
from streamgauge.streams.wsgi import StreamBytesMiddleware

__all__ = ["StreamBytesMiddleware", "bill_to"]
