"""The public names as a caller's type checker sees them; each comment is what it must say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from socket import socket
from typing import assert_type, reveal_type

import flask
import paho.mqtt.client as paho
from aiohttp import web
from django.http import HttpRequest  # type: ignore[import-untyped]
from paho.mqtt.enums import CallbackAPIVersion
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.websockets import WebSocket

import streamgauge.testing as kit
from streamgauge import (
    Ingestion,
    Stats,
    StreamBytesMiddleware,
    StreamSession,
    bill_to,
    measure,
    measure_file,
    track_stream_bytes,
)
from streamgauge.asgi import StreamBytesMiddleware as FromAsgi
from streamgauge.customers import (
    RequestView,
    Signer,
    first_of,
    from_cookie,
    from_header,
    from_jwt,
    from_path,
    from_query,
    from_session,
    view_of,
)
from streamgauge.mqtt import MosquittoMeter, MqttMeter
from streamgauge.playback import Manifests, PlaybackSessions
from streamgauge.sockets import SocketMeter

ingestion = Ingestion(environment="test_mode", event_name="stream_consumption", api_key=lambda: "k")
Ingestion()  # error: call-arg
Ingestion("test_mode", "stream_consumption")  # error: call-arg
Ingestion(environment="test_mode", event_name="n", sink=kit.MemorySink(), clock=kit.ManualClock())
Ingestion(environment="test_mode", event_name="n", sink=object())  # error: arg-type

metadata = {"quality": "hd", "rate": Decimal("0.5"), "live": True, "height": 1080}
track_stream_bytes(ingestion, customer_id="ann", bytes=5, metadata=metadata, event_id="e")
track_stream_bytes(ingestion, customer_id="ann", timestamp=datetime.now(UTC))
track_stream_bytes(ingestion, customer_id="ann", bytes=1.5)  # error: arg-type
track_stream_bytes(ingestion, bytes=5)  # error: call-arg
ingestion.track(customer_id="ann", bytes="5")  # error: arg-type

with ingestion.session(customer_id="ann", metadata=metadata) as session:
    reveal_type(session)  # revealed: streamgauge.sdk.session.StreamSession
    session.add(5)
    session.add(b"five")  # error: arg-type
    assert_type(session.total, int)
assert_type(ingestion.session(customer_id="ann"), StreamSession)
assert_type(ingestion.stats(), Stats)
assert_type(ingestion.stats().counted_bytes, int)
assert_type(ingestion.flush(), bool)

with ingestion as entered:
    assert_type(entered, Ingestion)


async def closes() -> None:
    async with ingestion as entered:
        assert_type(entered, Ingestion)
    assert_type(await ingestion.aflush(timeout_s=1), bool)


def chunks() -> Iterator[bytes]:
    yield b""


async def later() -> AsyncIterator[memoryview]:
    yield memoryview(b"")


for chunk in measure(chunks(), ingestion, customer_id="ann", metadata=metadata):
    assert_type(chunk, bytes)
reveal_type(measure([b""], session))  # revealed: iterables.MeasuredIterator[bytes]
reveal_type(measure(later(), session))  # revealed: MeasuredAsyncIterator[memoryview
measure(chunks(), ingestion)  # error: call-overload
measure(chunks(), session, customer_id="ann")  # error: call-overload
measure(["text"], ingestion, customer_id="ann")  # error: type-var

app = Starlette()
app.add_middleware(StreamBytesMiddleware, ingestion=ingestion)
app.add_middleware(StreamBytesMiddleware, ingestion=ingestion, customer=lambda view: view.path)
app.add_middleware(StreamBytesMiddleware)  # error: call-arg
assert_type(FromAsgi(app, ingestion=ingestion).unattributed_bytes, int)


async def customer(request: RequestView) -> str | None:
    assert_type(request.headers["x-customer"], str)
    return request.path_params.get("customer_id")


StreamBytesMiddleware(app, ingestion=ingestion, customer=customer, metadata={"platform": "web"})
StreamBytesMiddleware(app, ingestion=ingestion, customer=len)  # error: arg-type


async def endpoint(request: Request, websocket: WebSocket) -> None:
    bill_to(request, customer_id="ann", metadata=metadata)
    bill_to(websocket, customer_id="ann")
    bill_to(request.scope, customer_id="ann")
    bill_to(request, "ann")  # error: call-arg
    bill_to("request", customer_id="ann")  # error: arg-type


def handlers(request: web.Request, environ: dict[str, object]) -> None:
    bill_to(request, customer_id="ann")
    bill_to(flask.request, customer_id="ann")
    bill_to(environ, customer_id="ann")
    bill_to(HttpRequest(), customer_id="ann")
    assert_type(view_of(flask.request), RequestView)


signer = Signer(["secret"])
assert_type(signer.sign("ann", ttl_s=60), str)
signer.sign("ann")  # error: call-arg
resolvers = first_of(
    from_path("/{customer_id}"),
    from_session(),
    from_cookie("viewer", signer=signer),
    from_query("viewer", signer=signer),
    from_header("x-customer", trusted_proxies=["10.0.0.0/8"]),
    from_jwt(key="secret", algorithms=["HS256"]),
    customer,
)
StreamBytesMiddleware(app, ingestion=ingestion, customer=resolvers)
StreamBytesMiddleware(app, ingestion=ingestion, customer=from_path("/{customer_id}"))
from_jwt(key="secret")  # error: call-arg
from_header("x-customer", trusted_proxies=[b"10.0.0.0/8"])  # error: list-item

sessions = PlaybackSessions(
    lambda measured: measured.customer_id and str(measured.metadata["title"]),
    media=Manifests(lambda request: request.path),
    on_ended=lambda one: assert_type(one.media_s, Decimal),
)
StreamBytesMiddleware(app, ingestion=ingestion, on_measured=sessions)
assert_type(sessions.id_of("ann", "film"), str)
PlaybackSessions(len, on_ended=print)  # error: arg-type
PlaybackSessions(lambda measured: None)  # error: call-arg


meter = SocketMeter(ingestion, layer="wire", on_measured=sessions)
with meter.socket(socket(), customer_id="ann", metadata=metadata) as measured:
    assert_type(measured.send(b"bytes"), int)
    measured.send("text")  # error: arg-type
meter.socket(socket())  # error: call-arg
with measure_file(BytesIO(), ingestion, customer_id="ann") as counted:
    assert_type(counted.read(), bytes)
measure_file(StringIO(), ingestion, customer_id="ann")  # error: arg-type, call-overload
messages = MqttMeter(ingestion, customer=lambda topic: topic.partition("/")[0])
messages.publish(paho.Client(CallbackAPIVersion.VERSION2), "ann/wind", b"12", qos=1)
messages.publish("client", "ann/wind")  # error: arg-type
MosquittoMeter(ingestion, customer=lambda client: client.username)


assert_type(kit.MemorySink().bytes_by_customer(), dict[str, int])
kit.assert_conserved(ingestion.stats())
