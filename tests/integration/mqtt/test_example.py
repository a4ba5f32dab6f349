"""The example, run as its reader would, against a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamgauge.testing import MemorySink
from tests.integration.mqtt.conftest import Broker, Device, until
from tests.unit.examples.conftest import KEY, Running, serving

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def received() -> MemorySink:
    return MemorySink()


@pytest.fixture
def url(received: MemorySink) -> Iterator[str]:
    with serving(received) as url:
        yield url


def test_the_example_bills_owners_for_readings_and_the_operator_for_the_wire(
    broker: Broker,
    device: Callable[..., Device],
    received: MemorySink,
    url: str,
    tmp_path: Path,
) -> None:
    environment = {
        "BROKER": f"127.0.0.1:{broker.port}",
        "DODO_PAYMENTS_API_KEY": KEY,
        "STREAMGAUGE_URL": url,
        "STREAMGAUGE_SPOOL_DIR": str(tmp_path / "spool"),
    }
    example = Running("mqtt_telemetry.py", environment)
    sensor = device("sensor")
    for topic, payload in (("devices/ann/wind", "12 m/s"), ("devices/bob/rain", "3")):
        sensor.client.publish(topic, payload, qos=1).wait_for_publish(10)
    # The gateway acknowledges what it has handled.
    until(lambda: sum("Received PUBACK" in line for line in broker.lines) == 2)
    example.stop()
    billed = received.bytes_by_customer()
    assert (billed.pop("customer_ann"), billed.pop("customer_bob")) == (6, 1)
    assert billed.pop("customer_operator") > 200
    assert billed == {}
    assert "devices/bob/rain b'3'" in example.output
