"""Telemetry over MQTT: who owns a device pays for its readings, at the gateway that takes them.

Run `python mqtt_telemetry.py`. `DODO_PAYMENTS_API_KEY` is your key, `STREAMGAUGE_URL` your server
(without it: Dodo Payments' own), `BROKER` a broker's host and port. Then:

    mosquitto_pub -t devices/ann/wind -m "12 m/s"
"""

import os
from contextlib import suppress

import paho.mqtt.client as mqtt

from streamgauge import Ingestion
from streamgauge.mqtt import MqttMeter
from streamgauge.sockets import SocketMeter

BROKER = os.environ.get("BROKER", "127.0.0.1:1883")


def owner(topic: str) -> str:
    return f"customer_{topic.split('/')[1]}"


def sensor(topic: str) -> dict[str, str]:
    return {"sensor": topic.rpartition("/")[2]}


def main() -> None:
    host, _, port = BROKER.rpartition(":")
    with Ingestion(
        environment="test_mode",
        event_name="stream_consumption",
        base_url=os.environ.get("STREAMGAUGE_URL"),
    ) as ingestion:
        messages = MqttMeter(ingestion, customer=owner, metadata=sensor)
        # What the gateway's own connection costs on the wire is the operator's.
        with SocketMeter(ingestion, layer="wire", direction="ingress") as wire:
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
            client.on_socket_open = lambda _client, _data, opened: wire.follow(
                opened, customer_id="customer_operator", metadata={"link": "broker"}
            )
            client.on_connect = lambda *_: client.subscribe("devices/+/#", qos=1)
            client.on_subscribe = lambda *_: print(f"subscribed at {BROKER}", flush=True)
            client.on_message = messages.counting(store)
            client.connect(host, int(port))
            with suppress(KeyboardInterrupt):
                client.loop_forever()
            client.disconnect()
        messages.close()


def store(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
    print(message.topic, message.payload, flush=True)


if __name__ == "__main__":
    main()
