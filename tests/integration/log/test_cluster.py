"""Two processes that accept and one that writes, on real NATS and PostgreSQL, serve one load.

The store is the embedded engine behind a front of HTTP, or STREAMGAUGE_TEST_CLICKHOUSE_URL.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from streamgauge.server.catalog import Catalog
from streamgauge.server.layout import CATALOG, SECRET
from tests import postgresql
from tests.integration.ingest.conftest import Server
from tests.integration.log.conftest import Nodes
from tests.integration.log.test_serving import event, meter, sent, usage

pytestmark = pytest.mark.cluster

BATCHES, BATCH_EVENTS = 60, 50
ROLES = ("writer", "writer", "api", "api")


class Cluster:
    """A writer, one too many, and two processes that accept; and a key for all of them."""

    def __init__(self, directory: Path, *, catalog: str, **flags: str) -> None:
        directories = [directory / f"process{place}" for place in range(len(ROLES))]
        for each in directories:
            each.mkdir(mode=0o700)
        opened = Catalog(directories[0] / CATALOG, url=catalog)
        self._token = opened.keys.create(mode="test_mode", name="tests").token
        opened.close()
        for each in directories[1:]:
            shutil.copy(directories[0] / SECRET, each / SECRET)
        self.writer, self.second_writer, *self.entrances = [
            Server(each, catalog=catalog, role=role, **flags)
            for each, role in zip(directories, ROLES, strict=True)
        ]

    def start(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Server.start, [self.writer, *self.entrances]))

    def client(self, server: Server) -> httpx.Client:
        return server.client(self._token)

    def close(self) -> None:
        for each in (self.writer, self.second_writer, *self.entrances):
            each.kill()


@pytest.fixture(scope="module")
def cluster(
    nodes: Nodes,
    postgresql_cluster: postgresql.Cluster,
    clickhouse_url: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    nodes.connected().close()
    directory = tmp_path_factory.mktemp("cluster")
    hosts = ",".join(url.removeprefix("nats://") for url in nodes.urls)
    log = f"nats://{hosts}/cluster?bytes_max=1073741824"
    catalog = postgresql_cluster.url(postgresql_cluster.new_schema())
    running = Cluster(directory, catalog=catalog, ingest_log=log, store=clickhouse_url())
    try:
        running.start()
        yield running
    finally:
        running.close()


class Load:
    """The same batches to two processes at once, each until it is answered with 200.

    Attributes:
        new: How often each event was answered as new.
        doubtful: Events of batches of which an answer was lost or was no 200.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.new: Counter[int] = Counter()
        self.doubtful: set[int] = set()
        self.answered = 0

    def send(self, server: Server, lane: int) -> None:
        with self._cluster.client(server) as client:
            for batch in range(lane, BATCHES, 2):
                # Half of each batch is in the next one too.
                first = batch * BATCH_EVENTS // 2
                numbers = range(first, first + BATCH_EVENTS)
                body = {"events": [event(number) for number in numbers]}
                while (results := self._results(client, body)) is None:
                    self.doubtful.update(numbers)
                    time.sleep(0.05)
                self.new.update(n for n, how in zip(numbers, results, strict=True) if how)
                self.answered += 1

    def _results(self, client: httpx.Client, body: dict[str, object]) -> list[bool] | None:
        try:
            answer = client.post("/events/ingest", json=body)
        except httpx.TransportError:
            return None
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            return None
        assert answer.status_code == 200, answer.text
        return [each["result"] == "stored" for each in answer.json()["results"]]


@pytest.mark.postgresql
@pytest.mark.timeout(240)
def test_two_processes_that_accept_and_one_writer_serve_one_load_and_agree(
    nodes: Nodes, cluster: Cluster
) -> None:
    first, second = cluster.entrances
    with cluster.client(first) as client:
        made = meter(client)
    load = Load(cluster)
    with ThreadPoolExecutor() as pool:
        lanes = [pool.submit(load.send, each, lane) for lane in (0, 1) for each in (first, second)]
        wait_for(lambda: load.answered > BATCHES // 4)
        cluster.writer.kill()
        leader = nodes.leader("cluster_events")
        nodes.kill(leader)
        wait_for(lambda: load.answered > BATCHES // 2)
        nodes.start(leader)
        cluster.writer.start()
        for lane in lanes:
            lane.result()
    distinct = (BATCHES + 1) * BATCH_EVENTS // 2
    assert set(load.new) | load.doubtful == set(range(distinct))
    assert max(load.new.values()) == 1, "an event was answered as new twice"
    assert [number for number in range(distinct) if not load.new[number]] == [
        number for number in sorted(load.doubtful) if not load.new[number]
    ]
    for each in (first, second, cluster.writer):
        with cluster.client(each) as client:
            assert usage(client, made) == (distinct, str(distinct * 10))


@pytest.mark.postgresql
@pytest.mark.timeout(240)
def test_what_one_process_accepted_another_bills_at_once_also_after_the_writer_lost_its_disk(
    cluster: Cluster,
) -> None:
    with (
        cluster.client(cluster.entrances[0]) as first,
        cluster.client(cluster.entrances[1]) as second,
    ):
        made = meter(first, "film")
        assert sent(first, 11, 12, name="film") == ["stored", "stored"]
        assert usage(second, made) == (2, "20")
        assert sent(second, 12, 13, name="film") == ["duplicate", "stored"]
        assert usage(first, made) == (3, "30")
        # Made where nothing is written, after events: the writer rolls up, all read it.
        later = meter(second, "film")
        assert usage(first, later) == (3, "30")
        with cluster.client(cluster.writer) as writer:
            refused = writer.post("/events/ingest", json={"events": [event(14)]})
        assert refused.status_code == 503
        assert "takes no events" in refused.json()["message"]
        with pytest.raises(AssertionError, match="another writer of the log cluster runs"):
            cluster.second_writer.start()
        assert usage(second, made) == (3, "30")
        cluster.writer.kill()
        # It may lose what it kept beside the log, too.
        for kept in cluster.writer.data_dir.iterdir():
            if kept.is_dir():
                shutil.rmtree(kept)
        assert sent(first, 14, name="film") == ["stored"]
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(usage, second, made)
            cluster.writer.start()
            assert waiting.result() == (4, "40")
        assert sent(second, 11, 14, 15, name="film") == ["duplicate", "duplicate", "stored"]
        with cluster.client(cluster.writer) as writer:
            assert usage(writer, made) == (5, "50")
            assert writer.get("/readyz").json()["damage"] == []


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
