"""Bill what nginx sends: for X-Accel-Redirect, static files and proxied answers on one host."""

from __future__ import annotations

from streamgauge.streams.nginx.lines import BILL_HEADER, LOG_FORMAT, bill_header
from streamgauge.streams.nginx.reader import NginxLog, NginxStats

__all__ = ["BILL_HEADER", "LOG_FORMAT", "NginxLog", "NginxStats", "bill_header"]
