"""SIGKILL on either side at random moments, with traffic: nothing lost, nothing double.

``STREAMGAUGE_SOAK_ROUNDS`` sets how many rounds, ``STREAMGAUGE_SOAK_SEED`` repeats a run's choices.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.core.ids import split_event_id
from streamgauge.demo.api import Api
from streamgauge.demo.audience import AUDIENCE, EVENT_NAME
from streamgauge.demo.billing import Billing
from streamgauge.demo.compare import CountedEvent
from streamgauge.demo.hosting import Host
from streamgauge.demo.processes import Processes, kill
from streamgauge.demo.server import start_server

ROUNDS = int(os.environ.get("STREAMGAUGE_SOAK_ROUNDS", "20"))
SEED = int(os.environ.get("STREAMGAUGE_SOAK_SEED", "0")) or secrets.randbits(32)
FILM_BYTES = 400_000
CHUNK_BYTES = 64 * 1024
BATCH_EVENTS_MAX = 20
PAUSE_S = 0.03
RETRY_S = 0.05
# A round takes one to three seconds; the machine may be busy.
ROUND_TIMEOUT_S = 15
DIRECT = "direct"
VIEWERS = [viewer for viewer in AUDIENCE if viewer.customer_id in {"ana", "ben", "cleo"}]


class Traffic:
    """Customers who download in pieces, and a program that sends events itself.

    Attributes:
        received: Payload that arrived, per customer.
        acknowledged: Bytes of each event that the server answered 200 for, by id.
    """

    def __init__(self, host: Host, api: Api, rng: random.Random) -> None:
        self.received: Counter[str] = Counter()
        self.acknowledged: dict[str, int] = {}
        self._host = host
        self._api = api
        self._rng = rng
        self._sent = 0
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        self._stop.clear()
        async with asyncio.TaskGroup() as group:
            for viewer in VIEWERS:
                group.create_task(self._watch(viewer.token, viewer.customer_id))
            group.create_task(self._send())
            yield
            self._stop.set()

    async def _watch(self, token: str, customer_id: str) -> None:
        while not self._stop.is_set():
            start = self._rng.randrange(FILM_BYTES)
            self.received[customer_id] += await self._fetch(f"/{token}/film", start)
            await asyncio.sleep(PAUSE_S)

    async def _fetch(self, path: str, start: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._host.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nRange: bytes={start}-\r\n\r\n".encode())
        received = 0
        # A platform that dies closes the connection, in order or not.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            while received < FILM_BYTES - start and (data := await reader.read(CHUNK_BYTES)):
                received += len(data)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return received

    async def _send(self) -> None:
        while not self._stop.is_set():
            sizes = {
                f"own-{self._sent + number}": self._rng.randrange(1, 1_000_000)
                for number in range(self._rng.randrange(1, BATCH_EVENTS_MAX))
            }
            self._sent += len(sizes)
            await self._deliver(sizes)
            await asyncio.sleep(PAUSE_S)

    async def _deliver(self, sizes: dict[str, int]) -> None:
        """Send a batch, the same ids again and again, until it is acknowledged."""
        events = [
            {
                "event_id": event_id,
                "customer_id": DIRECT,
                "event_name": EVENT_NAME,
                "metadata": {"bytes": size, "quality": "audio"},
            }
            for event_id, size in sizes.items()
        ]
        while True:
            with contextlib.suppress(UnavailableError):
                await self._api.post("/events/ingest", {"events": events}, dict)
                self.acknowledged |= sizes
                return
            await asyncio.sleep(RETRY_S)


class Soak:
    """One server, one platform, and their deaths."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self.rng = random.Random(SEED)
        self.kills: Counter[str] = Counter()
        self._folder = folder
        self._processes = processes

    async def run(self) -> None:
        media = self._folder / "media"
        media.mkdir()
        (media / "film.mp4").write_bytes(self.rng.randbytes(FILM_BYTES))
        self.server = await start_server(self._folder, self._processes)
        server = await self.server.ready()
        self.port = server.port
        self.billing = Billing(server.api)
        await self.billing.set_up()
        self.host = Host(
            self._processes,
            folder=self._folder,
            media=media,
            billing_url=server.api.url,
            key=server.key,
        )
        with contextlib.closing(self.host):
            self.platform = await self.host.start()
            self.traffic = Traffic(self.host, server.api, self.rng)
            done = 0
            while done < ROUNDS:
                stretch = min(self.rng.randint(2, 4), ROUNDS - done)
                async with self.traffic.flowing():
                    for number in range(done, done + stretch):
                        await self._round(number)
                    await self.server.ready()
                done += stretch
                await self._check_invoices()
            await self._check_events()

    async def _round(self, number: int) -> None:
        """Kill one side and start it again, without waiting for it; it may be recovering still."""
        await asyncio.sleep(self.rng.uniform(0.05, 0.6))
        await (self._kill_server() if number % 2 else self._kill_platform())
        await asyncio.sleep(self.rng.uniform(0.05, 0.6))

    async def _kill_platform(self) -> None:
        await kill(self.platform)
        self.kills["platform"] += 1
        self.platform = await self.host.start()

    async def _kill_server(self) -> None:
        await kill(self.server.process)
        self.kills["server"] += 1
        self.server = await start_server(self._folder, self._processes, port=self.port)

    async def _check_invoices(self) -> None:
        """Have everything delivered; what is billed is what was counted, at most a chunk apart."""
        ledger = await self.host.ledger()
        assert ledger.holds
        assert ledger.unsettled_bytes == 0
        charges = {
            viewer.customer_id: await self.billing.charge(viewer.customer_id) for viewer in VIEWERS
        }
        self._compare({id: charge.consumed_bytes for id, charge in charges.items()})
        if self.traffic.acknowledged:
            direct = await self.billing.charge(DIRECT)
            assert direct.consumed_bytes == sum(self.traffic.acknowledged.values())

    def _compare(self, billed: dict[str, int]) -> None:
        witnessed = self.host.witnessed()
        unseen = 0
        for viewer in VIEWERS:
            seen, counted = witnessed[viewer.customer_id], billed[viewer.customer_id]
            assert self.traffic.received[viewer.customer_id] <= counted, "received, not billed"
            assert seen <= counted, "counted, not billed"
            unseen += counted - seen
        # One process serves one chunk at a time; a kill may fall between meter and witness.
        assert unseen <= CHUNK_BYTES * self.kills["platform"], "billed, not counted"

    async def _check_events(self) -> None:
        events = await self.billing.events()
        assert len({event.event_id for event in events}) == len(events)
        own = {event.event_id: event.bytes for event in events if event.customer_id == DIRECT}
        assert own == self.traffic.acknowledged
        self._compare(
            {viewer.customer_id: bytes_of(viewer.customer_id, events) for viewer in VIEWERS}
        )
        check_no_gaps([event.event_id for event in events if event.customer_id != DIRECT])


def bytes_of(customer_id: str, events: list[CountedEvent]) -> int:
    return sum(event.bytes for event in events if event.customer_id == customer_id)


def check_no_gaps(event_ids: list[str]) -> None:
    sequences: dict[str, set[int]] = {}
    for event_id in event_ids:
        split = split_event_id(event_id)
        assert split is not None
        sequences.setdefault(split[0], set()).add(split[1])
    for numbers in sequences.values():
        assert max(numbers) - min(numbers) + 1 == len(numbers), "an event of a spool is missing"


@pytest.mark.timeout(60 + ROUNDS * ROUND_TIMEOUT_S)
def test_sigkill_on_either_side_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    async def scene() -> Counter[str]:
        async with Processes() as processes:
            soak = Soak(tmp_path, processes)
            await soak.run()
            return soak.kills

    sys.stdout.write(f"STREAMGAUGE_SOAK_SEED={SEED} STREAMGAUGE_SOAK_ROUNDS={ROUNDS}\n")
    kills = asyncio.run(scene())
    sys.stdout.write(f"killed: {dict(kills)}\n")
    assert kills["platform"] >= ROUNDS // 2
    assert kills["server"] >= ROUNDS // 2
