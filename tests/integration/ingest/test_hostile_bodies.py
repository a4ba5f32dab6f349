"""Whatever is sent is taken whole or refused whole, and is never an internal error.

``STREAMGAUGE_SOAK_BODIES`` sets how many bodies, ``STREAMGAUGE_SOAK_SEED`` repeats a run's.
"""

from __future__ import annotations

import collections
import http.client
import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

BODIES = int(os.environ.get("STREAMGAUGE_SOAK_BODIES", "10000"))
SEED = int(os.environ.get("STREAMGAUGE_SOAK_SEED", "0")) or secrets.randbits(32)
CLIENTS = 4


def hostile(seed: str) -> Any:
    spec = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Hostile(seed)


class Attacker:
    """One connection that sends hostile bodies.

    Attributes:
        stored: Ids that the server said it stored, or had stored before.
        statuses: How often it answered what.
    """

    def __init__(self, server: Any, name: str) -> None:
        self._server = server
        self._bodies = hostile(f"{SEED}-{name}")
        self._token: str = server.token
        self.stored: set[str] = set()
        self.statuses: collections.Counter[int] = collections.Counter()

    def send(self, count: int) -> None:
        host = self._server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=60)
        for _ in range(count):
            body, headers = self._bodies.next()
            base = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
            connection.request("POST", "/events/ingest", body, base | headers)
            answer = connection.getresponse()
            self._check(answer.status, answer.read(), body)
        connection.close()

    def _check(self, status: int, text: bytes, body: bytes) -> None:
        self.statuses[status] += 1
        assert status in {200, 400, 413, 415, 422}, (status, text, body[:2000])
        told = json.loads(text)
        if status == 200:
            assert told["ingested_count"] == len(told["results"]) > 0
            self.stored |= {result["event_id"] for result in told["results"]}
        else:
            assert told["code"], body[:2000]
            assert told["message"], body[:2000]


def ids_stored(client: httpx.Client) -> set[str]:
    found: set[str] = set()
    for number in range(BODIES):
        query = {"page_size": 1000, "page_number": number}
        page = client.get("/events", params=query).raise_for_status().json()["items"]
        ids = {event["event_id"] for event in page}
        assert len(ids) == len(page)
        assert not ids & found
        found |= ids
        if len(page) < 1000:
            break
    return found


@pytest.mark.timeout(120 + BODIES // 50)
def test_hostile_bodies_are_taken_or_refused_whole(new_server: Callable[[], Any]) -> None:
    sys.stdout.write(f"STREAMGAUGE_SOAK_SEED={SEED} STREAMGAUGE_SOAK_BODIES={BODIES}\n")
    server = new_server().start()
    attackers = [Attacker(server, str(number)) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda attacker: attacker.send(BODIES // CLIENTS), attackers))
    statuses = sum((attacker.statuses for attacker in attackers), collections.Counter())
    sys.stdout.write(f"answers: {dict(sorted(statuses.items()))}\n")
    with server.client() as client:
        assert ids_stored(client) == set().union(*(each.stored for each in attackers))
    assert set(statuses) == {200, 400, 413, 415, 422}, "each way to refuse must be seen"
    assert statuses[200] > BODIES // 20
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
