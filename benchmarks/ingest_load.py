"""Clients that post batches of events for a while, as lightly as Python can, and say how it went.

A process of its own: ``python -m benchmarks.ingest_load``. It prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
from datetime import UTC, datetime

from streamgauge.core.ids import new_writer_id

CUSTOMERS = 20_000
QUALITIES = ("240p", "480p", "720p", "1080p", "2160p")
REGIONS = 10
_TEMPLATES = 20
_AT = b"2000-01-01T00:00:00.000000Z"


def template(draw: random.Random, batch: int, ids: str) -> bytes:
    """Return the body of a batch, some 220 bytes an event, with ``%d`` where ids count."""
    events = [
        {
            "event_id": f"{ids}%d",
            "customer_id": f"cus_{draw.randrange(CUSTOMERS):026d}",
            "event_name": "stream",
            "timestamp": _AT.decode(),
            "metadata": {
                "bytes": draw.randrange(10**9),
                "quality": draw.choice(QUALITIES),
                "region": f"r{draw.randrange(REGIONS)}",
                "session": f"s{draw.randrange(10**6):06d}",
            },
        }
        for _ in range(batch)
    ]
    return json.dumps({"events": events}, separators=(",", ":")).encode()


def bodies(draw: random.Random, batch: int) -> list[bytes]:
    """Return templates for one client, whose ids are those of a spool."""
    ids = f"{new_writer_id()}-"
    return [template(draw, batch, ids) for _ in range(_TEMPLATES)]


def filled(form: bytes, first: int, batch: int) -> bytes:
    """Return a body of a template: sent now, with ids from ``first`` on."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z").encode()
    return form.replace(_AT, now) % tuple(range(first, first + batch))


class Client(threading.Thread):
    """Posts over one connection, one batch after the other."""

    def __init__(self, options: argparse.Namespace, place: int) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection(("127.0.0.1", options.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            "POST /events/ingest HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {options.token}\r\ncontent-length: "
        ).encode()
        self._batch: int = options.batch
        # Seconds from one batch to the next; a client that is late does not wait.
        self._pace_s = options.batch * options.clients / options.rate if options.rate else 0.0
        self._forms = bodies(random.Random(place), options.batch)
        self.until = 0.0
        self.waits_s: list[float] = []
        self.trouble = ""

    def run(self) -> None:
        """Post until the time is over."""
        first, begun = 1, time.perf_counter()
        while not self.trouble:
            body = filled(self._forms[len(self.waits_s) % _TEMPLATES], first, self._batch)
            due = begun + len(self.waits_s) * self._pace_s
            time.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            if started > self.until:
                return
            self._socket.sendall(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
            self._read_answer()
            self.waits_s.append(time.perf_counter() - started)
            first += self._batch

    def _read_answer(self) -> None:
        data = self._socket.recv(1 << 18)
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(1 << 18)
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
        if not head.startswith(b"HTTP/1.1 200"):
            self.trouble = data[:300].decode()
        while left > 0:
            left -= len(self._socket.recv(left))


def main() -> None:
    """Run the clients and print what they saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("port", "batch", "clients"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=int, default=0, help="events a second, 0: all it can")
    options = parser.parse_args()
    clients = [Client(options, place) for place in range(options.clients)]
    used, started = time.process_time(), time.perf_counter()
    for client in clients:
        client.until = started + options.seconds
        client.start()
    for client in clients:
        client.join()
    took_s = time.perf_counter() - started
    if trouble := next(filter(None, (client.trouble for client in clients)), ""):
        sys.exit(f"a batch was refused: {trouble}")
    waits = sorted(wait for client in clients for wait in client.waits_s)
    events = len(waits) * options.batch
    figures = {
        "events": events,
        "took_s": took_s,
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p99_ms": waits[len(waits) * 99 // 100] * 1e3,
        "max_ms": waits[-1] * 1e3,
        "client_us": (time.process_time() - used) / events * 1e6,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
