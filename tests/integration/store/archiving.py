"""A store with an archive, and what is asked of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamgauge.server import archived as states
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.store import EventStore
from streamgauge.server.store.segments import log_position
from tests.integration.store.conftest import Shelf

LAST = 2**32 - 1
SCOPE = {"business_id": "bus_1", "mode": "test_mode"}
MONTHS = ("2026-01", "2026-02", "2026-03", "2026-04")
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
QUALITIES = ("hd", "sd", 'a"b\\c{x}', "")


class Store(Shelf):
    """A store in files of this machine, with an archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"chdb://{path / 'engine'}")

    @property
    def directory(self) -> Path:
        return self.path / "an archive's \u00e9"

    def open(self) -> None:
        self.store = EventStore(self._dsn, query_clients=2, archive=self.directory)

    def fill(self) -> None:
        """Insert a segment for each month, of three customers, with texts of every kind."""
        for segment, month in enumerate(MONTHS, 1):
            rows = []
            for number in range(24):
                metadata = {"bytes": str(10**30 + number) if number % 5 else "1.25"}
                if quality := QUALITIES[number % 4]:
                    metadata["quality"] = json.dumps(quality)
                at = f"{month}-{number + 1:02d}T00:00:{number:02d}.{number:06d}Z"
                id = f"{segment:032x}-{number}" if number % 2 else f"{month}/{number}"
                customer = f"cus_{number % 3}é"
                rows.append(self.row(id, timestamp=at, customer_id=customer, metadata=metadata))
            self.insert(segment, *rows)

    def late(self, segment: int, *ids: str, at: str = "2026-02-07T00:00:00Z") -> None:
        rows = [self.row(id, timestamp=at, metadata={"bytes": "7"}) for id in ids]
        self.insert(segment, *rows)

    def archive(self, segment: int = 4, before: datetime = APRIL) -> list[int]:
        """Archive all there is up to a segment, and return how many events each step took."""
        steps = iter(lambda: self.store.archiver.step(before, log_position(segment, LAST)), 0)
        return list(steps)

    def _archived_forgotten(self, rule: Forget, position: int) -> bool:
        self.store.forget(rule, position)
        names = [file.name for file in self.store.archived.files]
        return any("000004" in name for name in names)

    def in_engine(self) -> int:
        ((count,),) = self.store._engine.rows("SELECT count() FROM events")
        return int(count)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("events-*"))

    def check_settled(self) -> None:
        """Fail if anything is left that nobody reads, or if a file is not what it should be."""
        state = self.store.archived
        assert states.read(self.directory) == state
        lost, left = states.missing(self.directory, state), states.leftovers(self.directory, state)
        assert [*lost, *left, *states.damaged(self.directory, state)] == []
        assert self.in_engine() + state.rows == self.store.count()

    def briefly(self, meter: Any) -> Any:
        """Return an answer of every kind."""
        listed = self.store.events(**SCOPE, limit=1000)
        return listed, self.usage(meter, up_to=2**63, bucket="day"), self.store.newest_segment()

    def everything(self, *meters: Any) -> Any:
        """Return every answer that comes from raw events."""
        ask: Any = self.store.events
        january = datetime(2026, 1, 3, 12, tzinfo=UTC)
        listed = ask(**SCOPE, limit=1000)
        told: list[Any] = [listed]
        told += [ask(**SCOPE, limit=5, offset=offset) for offset in (0, 20, 90)]
        told += [
            ask(**SCOPE, limit=50, **narrow)
            for narrow in (
                {"customer_id": "cus_1é"},
                {"customer_id": "cus_9"},
                {"event_name": "other"},
                {"start": january, "end": datetime(2026, 3, 2, tzinfo=UTC)},
                {"end": datetime(2026, 2, 1, tzinfo=UTC)},
                {"start": datetime(1, 1, 1, tzinfo=UTC), "end": datetime(9999, 1, 1, tzinfo=UTC)},
                {"after": log_position(2, 7), "up_to": log_position(4, 3)},
                {"after": log_position(4, LAST)},
                {"meter": meters[0]},
            )
        ]
        told += [self.store.event(e.event_id, **SCOPE) for e in listed[::17]]
        for meter in meters:
            for narrow in (
                {"by_customer": True},
                {"customer_id": "cus_2é", "group_by": ["quality"], "bucket": "day"},
                {"start": january.replace(hour=0), "by_customer": False},
                {"start": datetime(2026, 4, 3, tzinfo=UTC), "bucket": "month"},
            ):
                told.append(self.usage(meter, up_to=2**63, **narrow))
        told.append(sorted(map(repr, self.store.writer_runs())))
        told.append(
            sorted(id for b in self.store.foreign_ids() for ids in b.values() for id in ids)
        )
        return [*told, self.store.newest_segment(), self.store.count()]
