"""What a server's process tells the tests: lines of JSON on its standard output."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamgauge import Ingestion
from streamgauge.sinks.base import Delivered, Outgoing
from streamgauge.streams.layers import Measured


class PrintingSink:
    """Takes every event, and prints it."""

    destination = "printed"

    def deliver(self, batch: Sequence[Outgoing]) -> Delivered:
        for one in batch:
            tell("billed", msgspec.json.decode(one.body))
        return Delivered(acknowledged=tuple(one.event_id for one in batch))

    def close(self) -> None:
        """Nothing is open."""


def tell(kind: str, what: Any) -> None:
    """Print one line in one piece, whichever process it comes from."""
    os.write(1, msgspec.json.encode({kind: what, "pid": os.getpid()}) + b"\n")


def tell_measured(measured: Measured) -> None:
    tell("measured", {**msgspec.structs.asdict(measured), "request": None})


def ingestion(spool: Path) -> Ingestion:
    """Return an ingestion that prints its events soon."""
    return Ingestion(
        environment="test_mode",
        event_name="bytes",
        spool_dir=spool,
        sink=PrintingSink(),
        flush_interval_s=0.2,
        delivery_interval_s=0.05,
    )
