from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.ids import new_writer_id
from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import ARCHIVE, CATALOG, ENGINE
from streamgauge.server.store import EventStore
from tests.e2e import dying_server
from tests.nursery import Life

CUSTOMERS = [f"cus_{number}" for number in range(5)]
WINDOW = "start=2025-01-01T00:00:00Z&end=2100-01-01T00:00:00Z"
BATCH_MAX = 60


class Server:
    """The server of ``dying_server.py`` on one data directory, through all its lives."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self.data_dir = data_dir
        self._log = log
        self._life: Life | None = None
        self.token = ""
        self.port = 0

    def start(self, dies_at: str = "", *, clock_ahead_s: int = 0) -> bool:
        """Return whether it came up; it may die before."""
        environ = {
            "STREAMGAUGE_DIES_AT": dies_at,
            "STREAMGAUGE_CLOCK_AHEAD_S": str(clock_ahead_s) if clock_ahead_s else "",
        }
        self._life = Life(dying_server.live, self.data_dir, self._log, environ)
        url = self._life.url
        if not url:
            self.end()
            return False
        self.port = int(url.rpartition(":")[2])
        if not self.token:
            catalog = Catalog(self.data_dir / CATALOG)
            self.token = catalog.keys.create(mode="test_mode", name="soak").token
            catalog.close()
        return True

    def alive(self) -> bool:
        return self._life is not None and self._life.is_alive()

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        life, self._life = self._life, None
        return 0 if life is None else life.end(number)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        """Return status, answer and headers.

        Raises:
            OSError: The server died, or is not there.
            http.client.HTTPException: As above.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
            data = body if isinstance(body, bytes) else body and json.dumps(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null"), answer.headers
        finally:
            connection.close()

    def log_text(self) -> str:
        return self._log.read_text()


class Sender:
    """A client that sends each batch until it is answered with 200, through every death.

    Attributes:
        owed: Per event that was acknowledged: who pays, and for how many bytes.
        refusals: How often a batch was told to come again.
    """

    def __init__(self, server: Server, seed: float) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._writer = new_writer_id(self._chance.randbytes)
        self._sent = 0
        self._pending: list[dict[str, Any]] = []
        self._last: list[dict[str, Any]] = []
        self.owed: dict[str, tuple[str, int]] = {}
        self.refusals: list[int] = []

    def send(self, stop: threading.Event) -> None:
        """Send until told to stop or until the server is gone."""
        while not stop.is_set() and self.deliver():
            if self._chance.random() < 0.1:
                self._repeat()
            self._pending = self._pending or self._batch()

    def deliver(self) -> bool:
        """Try the pending batch once; return whether the server is there."""
        if not self._pending:
            return True
        try:
            body = {"events": self._pending}
            status, answer, headers = self._server.ask("POST", "/events/ingest", body)
        except (OSError, http.client.HTTPException):
            return False
        if status == 503:
            self.refusals.append(int(headers["Retry-After"]))
            time.sleep(0.02)
            return True
        assert (status, answer["ingested_count"]) == (200, len(self._pending)), answer
        for event in self._pending:
            bytes_sent = event["metadata"]["bytes"]
            self.owed[event["event_id"]] = (event["customer_id"], bytes_sent)
        self._last, self._pending = self._pending, []
        return True

    @property
    def pending(self) -> bool:
        return bool(self._pending)

    def _repeat(self) -> None:
        if self._last:
            again = [event | {"timestamp": "2026-03-05T00:00:00Z"} for event in self._last]
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer, _ = self._server.ask("POST", "/events/ingest", {"events": again})
                results = {each["result"] for each in answer["results"]} if status == 200 else set()
                assert results <= {"duplicate"}

    def _batch(self) -> list[dict[str, Any]]:
        ours = self._chance.random() < 0.5
        return [self._event(ours=ours) for _ in range(self._chance.randrange(1, BATCH_MAX))]

    def _event(self, *, ours: bool) -> dict[str, Any]:
        self._sent += 1
        event = {
            "event_id": f"{self._writer}-{self._sent}" if ours else f"{self._writer} {self._sent}",
            "customer_id": self._chance.choice(CUSTOMERS),
            "event_name": "stream",
            "metadata": {"bytes": self._chance.randrange(2**53)},
        }
        if self._chance.random() < 0.7:
            event["timestamp"] = f"2026-0{self._chance.randrange(1, 4)}-02T03:04:05Z"
        return event


class Ledger:
    """What senders are owed, compared with what the server says."""

    def __init__(self, server: Server, senders: list[Sender]) -> None:
        self.server = server
        self.senders = senders

    def owed(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for sender in self.senders:
            for customer, sent in sender.owed.values():
                sums[customer] += sent
        return sums

    def settle(self) -> None:
        """Deliver what is pending; the server must be there and stay there."""
        end = time.monotonic() + 60
        for sender in self.senders:
            while sender.pending:
                assert sender.deliver(), "the server must be there"
                assert time.monotonic() < end

    def check(self) -> None:
        """Compare per customer and to the byte, for every meter there is."""
        self.settle()
        status, answer, _ = self.server.ask("GET", "/meters?page_size=100")
        assert status == 200
        assert answer["items"]
        for meter in answer["items"]:
            query = f"meter_id={meter['id']}&{WINDOW}&group_by=customer_id"
            status, usage, _ = self.server.ask("GET", f"/v1/usage?{query}")
            assert status == 200, usage
            billed = {each["customer_id"]: int(each["quantity"]) for each in usage["items"]}
            assert billed == self.owed(), meter["name"]
            assert usage["events"] == sum(len(sender.owed) for sender in self.senders)

    def check_store(self) -> None:
        """Compare what is stored, event by event; the server must be gone."""
        data_dir = self.server.data_dir
        store = EventStore(f"chdb://{data_dir / ENGINE}", archive=data_dir / ARCHIVE)
        try:
            with store._archive.reading() as view:
                rows = store._engine.rows(
                    "SELECT event_id, customer_id, JSONExtractUInt(metadata['bytes']) "
                    f"FROM {view.rows('1')}"
                )
            archived = store.archived.rows
        finally:
            store.close()
        assert archived > 0, "old events must be archived"
        stored = {event_id: (customer, sent) for event_id, customer, sent in rows}
        assert len(rows) == len(stored), "an event is stored twice"
        assert stored == {key: owed for sender in self.senders for key, owed in sender.owed.items()}


@pytest.fixture
def server_type() -> type[Server]:
    return Server


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Any]:
    made: list[Server] = []

    def new(data_dir: Path | None = None) -> Server:
        made.append(Server(data_dir or tmp_path / "data", tmp_path / "server.log"))
        return made[-1]

    yield new
    for server in made:
        server.end()


@pytest.fixture
def sender_type() -> type[Sender]:
    return Sender


@pytest.fixture
def ledger_type() -> type[Ledger]:
    return Ledger
