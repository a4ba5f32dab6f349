"""Bill MQTT: payload by topic in a program with paho-mqtt, and a broker's connections."""

from __future__ import annotations

from streamgauge.streams.mqtt.broker import BrokerStats, MosquittoMeter
from streamgauge.streams.mqtt.client import MqttMeter
from streamgauge.streams.mqtt.log import BrokerClient

__all__ = ["BrokerClient", "BrokerStats", "MosquittoMeter", "MqttMeter"]
