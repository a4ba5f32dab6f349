"""Telemetry over MQTT: a real Mosquitto, real paho clients, and the kernel between them."""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion
from streamgauge.core.errors import InvalidInputError
from streamgauge.mqtt import BrokerClient, MosquittoMeter, MqttMeter
from streamgauge.sockets import SocketMeter
from streamgauge.streams.layers import Measured
from streamgauge.testing import MemorySink
from tests.integration.mqtt.conftest import Broker, Device, until

pytestmark = pytest.mark.mosquitto
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "telemetry.md"
PROGRAM = re.compile(r"<!-- run: (\S+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
Devices = Callable[..., Device]


@pytest.fixture
def billed(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> Callable[[], dict[str, int]]:
    def ask() -> dict[str, int]:
        assert streamgauge_ingestion.flush()
        return streamgauge_sink.bytes_by_customer()

    return ask


def owner(topic: str) -> str | None:
    kind, _, rest = topic.partition("/")
    return rest.partition("/")[0] if kind == "devices" else None


def test_payload_is_billed_by_topic_where_it_is_published_and_received(
    device: Devices, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    meter = MqttMeter(
        streamgauge_ingestion,
        customer=owner,
        metadata=lambda topic: {"sensor": topic.rpartition("/")[2]},
    )
    gateway, sensor = device("gateway"), device("sensor")
    gateway.client.on_message = meter.counting(gateway.client.on_message)
    gateway.subscribe("#")
    for topic, payload in (
        ("devices/ann/wind", "12 m/s"),
        ("devices/ann/wind", "größe"),
        ("devices/bob/rain", bytearray(b"123")),
        ("devices/bob/rain", 4.25),
        ("devices/bob/rain", None),
        ("other", b"12345"),
    ):
        meter.publish(sensor.client, topic, payload, qos=1).wait_for_publish(10)
    for _ in range(6):
        gateway.received.get(timeout=10)
    meter.close()
    assert streamgauge_ingestion.flush()
    # Once at the sensor and once at the gateway; in earnest one of them bills.
    assert streamgauge_sink.bytes_by_customer() == {"ann": 2 * 13, "bob": 2 * 7}
    assert {event.metadata["sensor"] for event in streamgauge_sink.events} == {"wind", "rain"}
    assert meter.unattributed_bytes == 2 * 5


def test_a_message_that_the_client_drops_is_not_counted(
    device: Devices, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    meter = MqttMeter(streamgauge_ingestion, customer=owner)
    offline = device("offline", connected=False)
    meter.publish(offline.client, "devices/ann/x", b"dropped", qos=0)
    offline.client.max_queued_messages_set(1)
    meter.publish(offline.client, "devices/ann/x", b"queued", qos=1)
    meter.publish(offline.client, "devices/ann/x", b"one too many", qos=1)
    meter.close()
    assert billed() == {"ann": 6}


def test_an_owner_that_cannot_be_found_out_is_counted_and_disturbs_nothing(
    device: Devices, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    def failing(topic: str) -> str:
        raise RuntimeError("the caller's own")

    meter = MqttMeter(streamgauge_ingestion, customer=failing)
    for _ in range(2):
        meter.publish(device("sensor").client, "devices/ann/x", b"12345")
    assert (billed(), meter.unattributed_bytes, meter.failures) == ({}, 10, 1)


def test_the_wire_of_a_client_is_many_times_its_payload(
    device: Devices, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    measured: list[Measured] = []
    meter = SocketMeter(streamgauge_ingestion, layer="wire", on_measured=measured.append)
    sensor = device("sensor", connected=False)
    sensor.client.on_socket_open = lambda _client, _data, opened: meter.follow(
        opened, customer_id="ann"
    )
    sensor.connect()
    payload = b"18 bytes of sensor"
    for _ in range(50):
        sensor.client.publish("t", payload, qos=1).wait_for_publish(10)
    sensor.close()
    until(lambda: measured)
    meter.close()
    (one,) = measured
    # CONNECT is 20 bytes here, each PUBLISH 25 (2 + 3 + 2 + 18), DISCONNECT 2.
    assert one.tls.bytes == 20 + 50 * 25 + 2
    assert one.wire.bytes > 3 * 50 * len(payload)
    assert billed() == {"ann": one.wire.bytes}


@pytest.fixture
def mosquitto(
    broker: Broker, streamgauge_ingestion: Ingestion, request: pytest.FixtureRequest
) -> Iterator[MosquittoMeter]:
    def customer(client: BrokerClient) -> str | None:
        return client.username

    meter = MosquittoMeter(
        streamgauge_ingestion,
        customer=customer,
        ports=[broker.port],
        metadata=lambda client: {"client": client.id},
        **getattr(request, "param", {}),
    )
    for line in broker.lines:
        meter.feed(line)
    broker.listeners.append(meter.feed)
    yield meter
    meter.close()


@pytest.mark.parametrize("mosquitto", [{"layer": "tls", "direction": "ingress"}], indirect=True)
def test_a_broker_bills_each_client_what_its_own_kernel_says(
    device: Devices,
    mosquitto: MosquittoMeter,
    billed: Callable[[], Any],
    streamgauge_sink: MemorySink,
) -> None:
    sizes = {"ann": 100, "bob": 5_000}
    for user, size in sizes.items():
        one = device(f"sensor of {user}", user)
        for _ in range(20):
            one.client.publish("t", b"x" * size, qos=1).wait_for_publish(10)
        one.close()
    device("nobody", None).close()
    until(lambda: (mosquitto.poll(), mosquitto.stats().unattributed_bytes)[1])
    until(lambda: (mosquitto.poll(), mosquitto.stats().connections == 0)[1])
    got = billed()
    # The fixed header, the topic and the packet id; CONNECT with the user's name; DISCONNECT.
    expected = {
        user: 20 * (size + 2 + (size > 120) + 3 + 2) + 2 + len(_connect(user))
        for user, size in sizes.items()
    }
    # The end of a client's stream is a byte to the kernel that receives it.
    assert got == {user: size + 1 for user, size in expected.items()}
    assert mosquitto.stats().billed_bytes == sum(got.values())
    assert {event.metadata["client"] for event in streamgauge_sink.events} == {
        "sensor of ann",
        "sensor of bob",
    }


def _connect(user: str) -> bytes:
    fields = (b"MQTT", f"sensor of {user}".encode(), user.encode(), b"secret")
    body = b"".join(len(one).to_bytes(2, "big") + one for one in fields) + bytes(4)
    return bytes(2) + body


def test_a_connection_that_lives_is_billed_at_every_look(
    device: Devices, mosquitto: MosquittoMeter, billed: Callable[[], Any]
) -> None:
    ann, bob = device("a", "ann"), device("b", "bob")
    ann.subscribe("t")
    before: dict[str, int] = {}
    for _ in range(3):
        bob.client.publish("t", b"x" * 10_000, qos=1).wait_for_publish(10)
        ann.received.get(timeout=10)
        until(lambda: _grew(mosquitto, billed, before))
    # Wire out of the broker: to ann go messages, to bob only acknowledgements.
    got = billed()
    assert 30_000 < got["ann"] < 33_000
    assert 0 < got["bob"] < 5_000
    assert mosquitto.stats().connections == 2


def _grew(meter: MosquittoMeter, billed: Callable[[], Any], before: dict[str, int]) -> bool:
    meter.poll()
    now = billed().get("ann", 0)
    if now < before.get("ann", 0) + 10_000:
        return False
    before["ann"] = now
    return True


def test_a_meter_that_starts_late_bills_from_then_on(
    broker: Broker, device: Devices, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    ann, bob = device("a", "ann"), device("b", "bob")
    ann.subscribe("t")
    bob.client.publish("t", b"x" * 50_000, qos=1).wait_for_publish(10)
    ann.received.get(timeout=10)
    # Whatever ann sends says that it has arrived, which it need not have said yet.
    ann.client.publish("u", b"", qos=1).wait_for_publish(10)
    with MosquittoMeter(
        streamgauge_ingestion,
        customer=lambda client: client.username,
        ports=[broker.port],
        layer="tls",
    ) as meter:
        for line in broker.lines:
            meter.feed(line)
        bob.client.publish("t", b"y" * 1_000, qos=1).wait_for_publish(10)
        ann.received.get(timeout=10)
        until(lambda: (meter.poll(), billed().get("ann", 0) >= 1_000)[1])
        assert billed()["ann"] < 1_100


def test_an_address_that_is_used_again_is_another_client(
    broker: Broker, device: Devices, mosquitto: MosquittoMeter, billed: Callable[[], Any]
) -> None:
    # Below what the kernel gives to others, and another one in every run.
    port = random.randrange(20_000, 30_000)
    for user in ("ann", "bob"):
        one = device(user, user, connected=False)
        one.client.connect("127.0.0.1", broker.port, bind_address="127.0.0.1", bind_port=port)
        one.client.loop_start()
        until(one.client.is_connected)
        one.client.loop_stop()
        # A reset, so that the address is free at once.
        opened = one.client.socket()
        assert isinstance(opened, socket.socket)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        opened.close()
    until(lambda: (mosquitto.poll(), billed().keys() == {"ann", "bob"})[1])
    assert mosquitto.stats().lost_ends == 0


def test_a_forked_process_bills_nothing_of_the_broker(
    device: Devices, mosquitto: MosquittoMeter, billed: Callable[[], Any]
) -> None:
    device("a", "ann")
    child = os.fork()
    if child == 0:
        mosquitto.poll()
        os._exit(mosquitto.stats().billed_bytes > 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("options", [{"layer": "payload"}, {"direction": "x"}])
def test_what_a_broker_cannot_be_billed_by_is_refused(
    streamgauge_ingestion: Ingestion, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        MosquittoMeter(streamgauge_ingestion, customer=lambda client: None, **options)


def test_the_programs_of_the_guide_bill(
    broker: Broker, device: Devices, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    programs = dict(PROGRAM.findall(GUIDE.read_text("utf-8")))
    stored: list[str] = []
    names: dict[str, Any] = {
        "ingestion": streamgauge_ingestion,
        "client": device("gateway", connected=False).client,
        "store": lambda _client, _data, message: stored.append(message.topic),
    }
    names["client"].on_connect = lambda client, *_: client.subscribe("devices/+/#")
    exec(programs["mqtt"], names)
    exec(programs["mqtt-wire"], names)
    names["client"].connect("127.0.0.1", broker.port)
    names["client"].loop_start()
    until(lambda: any("devices/+/#" in line for line in broker.lines))
    # What was published before the connection was queued, and comes back by the subscription.
    until(lambda: stored == ["devices/ann/wind"])
    until(lambda: (names["wire"].poll(), billed().get("customer_gateway", 0) > 100)[1])
    assert billed()["ann"] == 2 * 6
    names["client"].disconnect()
    names["client"].loop_stop()
    names["wire"].close()
    exec(programs["mosquitto"].replace("1883", str(broker.port)), names | {"log": broker.lines})
