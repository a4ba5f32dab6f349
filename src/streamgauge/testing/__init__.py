"""A kit for the tests of applications that count with streamgauge.

In come the application's own calls; out come the events that it would have delivered, from a sink
in memory. What always holds: nothing leaves the machine, and at the end of a test with the
fixture ``streamgauge_ingestion`` every counted byte is accounted for.

    def test_a_download_is_billed(streamgauge_ingestion, streamgauge_sink):
        serve_a_download(streamgauge_ingestion)
        assert streamgauge_ingestion.flush()
        assert streamgauge_sink.bytes_by_customer() == {"customer_123": 1_000}

With pytest installed the fixtures are simply there; pytest is needed for nothing else.
"""

from __future__ import annotations

import contextlib

from streamgauge.sinks.memory import MemorySink, ReceivedEvent
from streamgauge.testing.clock import ManualClock
from streamgauge.testing.conservation import assert_conserved

with contextlib.suppress(ImportError):
    # The entry point of pytest is this module, so it finds the fixtures here.
    from streamgauge.testing.fixtures import streamgauge_ingestion as streamgauge_ingestion
    from streamgauge.testing.fixtures import streamgauge_sink as streamgauge_sink

__all__ = ["ManualClock", "MemorySink", "ReceivedEvent", "assert_conserved"]
