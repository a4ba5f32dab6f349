"""Payers that cannot be looked up for a while, as while a database restarts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamgauge import Ingestion
from streamgauge.core.limits import PAYER_RETRY_S
from streamgauge.mqtt import MosquittoMeter, MqttMeter
from streamgauge.testing import ManualClock, MemorySink
from tests.integration.mqtt.conftest import Broker, Device, until

pytestmark = pytest.mark.mosquitto


class Database:
    """Says who pays, unless it is down."""

    def __init__(self) -> None:
        self.is_down = True
        self.asked = 0

    def owner(self, _of: object) -> str:
        self.asked += 1
        if self.is_down:
            raise TimeoutError("the database restarts")
        return "ann"


def test_the_owner_of_a_topic_is_asked_for_again_after_a_failure(
    device: Callable[..., Device], streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    database, clock = Database(), ManualClock()
    meter = MqttMeter(streamgauge_ingestion, customer=database.owner, clock=clock)
    client = device("sensor").client
    for _ in range(3):
        meter.publish(client, "t", b"12345")
    assert (database.asked, meter.unattributed_bytes) == (1, 15)
    database.is_down = False
    clock.advance(PAYER_RETRY_S)
    for _ in range(3):
        meter.publish(client, "t", b"12345")
    assert (database.asked, meter.unattributed_bytes, meter.failures) == (2, 15, 1)
    assert streamgauge_ingestion.flush()
    assert streamgauge_sink.bytes_by_customer() == {"ann": 15}


def test_a_connection_whose_owner_was_not_found_is_billed_whole_when_it_is(
    broker: Broker,
    device: Callable[..., Device],
    streamgauge_ingestion: Ingestion,
    streamgauge_sink: MemorySink,
) -> None:
    database, clock = Database(), ManualClock()
    with MosquittoMeter(
        streamgauge_ingestion,
        customer=database.owner,
        ports=[broker.port],
        layer="tls",
        direction="ingress",
        clock=clock,
    ) as meter:
        broker.listeners.append(meter.feed)
        one = device("a", "ann")
        one.client.publish("t", b"x" * 5_000, qos=1).wait_for_publish(10)
        until(lambda: (meter.poll(), database.asked)[1])
        meter.poll()
        assert (database.asked, meter.stats().billed_bytes) == (1, 0)
        one.close()
        until(lambda: (meter.poll(), meter.stats().connections == 0)[1])
        assert meter.stats().unattributed_bytes == 0, "it is asked for once more"
        database.is_down = False
        clock.advance(PAYER_RETRY_S)
        meter.poll()
        assert meter.stats().unattributed_bytes == 0
    assert streamgauge_ingestion.flush()
    assert streamgauge_sink.bytes_by_customer()["ann"] > 5_000
