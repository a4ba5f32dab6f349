"""Who pays for a request: what ``customer=`` and ``metadata=`` are called with."""

from __future__ import annotations

from streamgauge.streams.requests import RequestView

__all__ = ["RequestView"]
