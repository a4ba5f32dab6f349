"""Messages of a paho-mqtt client, counted by topic."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from streamgauge.core.clock import NS_PER_S, Clock, SystemClock
from streamgauge.core.limits import MQTT_TOPICS_MAX, PAYER_RETRY_S
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.session import StreamSession
from streamgauge.streams.payers import Complaints

# paho's MQTTErrorCode.
_SUCCESS: Final = 0
_QUEUE_IS_FULL: Final = 15


class Publisher(Protocol):
    """What is used of ``paho.mqtt.client.Client``."""

    def publish(
        self,
        topic: str,
        payload: Any = None,  # noqa: ANN401
        qos: int = 0,
        retain: bool = False,  # noqa: FBT002
        properties: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Publish a message."""
        ...


class Message(Protocol):
    """What is used of ``paho.mqtt.client.MQTTMessage``."""

    topic: str
    payload: bytes


OnMessage = Callable[[Any, Any, Any], None]


class MqttMeter:
    """Bills the payload of MQTT messages to whom their topics belong.

    The topic's owner pays for what passes: published by ``publish``, received by a handler of
    ``counting``. What MQTT, TLS and TCP add is the connection's; ``SocketMeter.follow`` bills that.

    Args:
        ingestion: Where to.
        customer: Says who pays for a topic; None: nobody. Asked once for each of the
            ``MQTT_TOPICS_MAX`` topics that are used most recently, and again ``PAYER_RETRY_S``
            after it failed.
        metadata: Says what the bytes of a topic are.
        clock: Spaces log lines.

    Attributes:
        unattributed_bytes: Payload that nobody pays for.
    """

    def __init__(
        self,
        ingestion: Ingestion,
        *,
        customer: Callable[[str], str | None],
        metadata: Callable[[str], Mapping[str, object]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._ingestion = ingestion
        self._customer = customer
        self._metadata = metadata
        self._clock = clock or SystemClock()
        self._complaints = Complaints(self._clock)
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, StreamSession | None] = OrderedDict()
        self._ask_at_ns: dict[str, int] = {}
        self.unattributed_bytes = 0

    @property
    def failures(self) -> int:
        """Return how often ``customer`` or ``metadata`` failed; those bytes are nobody's."""
        return self._complaints.count

    def publish(
        self,
        client: Publisher,
        topic: str,
        payload: Any = None,  # noqa: ANN401 - text, bytes, numbers or nothing, as paho has it
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Publish a message, and count its payload if the client has taken it.

        With ``qos`` 0 a client without a connection drops the message, and nothing is counted; with
        1 or 2 it keeps the message until it is delivered, also when the connection is lost.

        Returns:
            paho's ``MQTTMessageInfo``.
        """
        info = client.publish(topic, payload, qos, retain, properties)
        if info.rc == _SUCCESS or (qos and info.rc != _QUEUE_IS_FULL):
            self._count(topic, payload_bytes(payload))
        return info

    def counting(self, handler: OnMessage) -> OnMessage:
        """Return ``handler``, an ``on_message``, as one that counts what is received."""

        def counted(client: Any, userdata: Any, message: Message) -> None:  # noqa: ANN401
            self._count(message.topic, len(message.payload))
            handler(client, userdata, message)

        return counted

    def close(self) -> None:
        """End the sessions; twice is once, and messages that come later still count."""
        with self._lock:
            sessions, self._sessions = self._sessions, OrderedDict()
            self._ask_at_ns.clear()
        for session in sessions.values():
            if session is not None:
                session.close()

    def _count(self, topic: str, size: int) -> None:
        with self._lock:
            session = self._session(topic)
            if session is not None:
                session.add(size)
            else:
                self.unattributed_bytes += size

    def _session(self, topic: str) -> StreamSession | None:
        try:
            self._sessions.move_to_end(topic)
            ask_at_ns = self._ask_at_ns.get(topic) if self._ask_at_ns else None
            if ask_at_ns is not None and self._clock.monotonic_ns() >= ask_at_ns:
                self._sessions[topic] = self._open(topic)
        except KeyError:
            self._sessions[topic] = self._open(topic)
            if len(self._sessions) > MQTT_TOPICS_MAX:
                gone, oldest = self._sessions.popitem(last=False)
                self._ask_at_ns.pop(gone, None)
                if oldest is not None:
                    oldest.close()
        return self._sessions[topic]

    def _open(self, topic: str) -> StreamSession | None:
        self._ask_at_ns.pop(topic, None)
        try:
            customer_id = self._customer(topic)
            if customer_id is None:
                return None
            metadata = self._metadata(topic) if self._metadata is not None else None
            return self._ingestion.session(customer_id=customer_id, metadata=metadata)
        except Exception as error:  # noqa: BLE001 - the caller's functions; messages go on
            self._complaints.add("customer= or metadata= failed for a topic of MQTT", error)
            self._ask_at_ns[topic] = self._clock.monotonic_ns() + PAYER_RETRY_S * NS_PER_S
            return None


def payload_bytes(payload: object) -> int:
    """Return the bytes that paho makes of a payload: text is UTF-8, numbers are their digits."""
    if payload is None:
        return 0
    if isinstance(payload, int | float):
        return len(str(payload))
    if isinstance(payload, str):
        return len(payload) if payload.isascii() else len(payload.encode())
    return memoryview(payload).nbytes  # type: ignore[arg-type]  # paho took it.
