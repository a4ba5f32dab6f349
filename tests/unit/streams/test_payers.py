from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from streamgauge import ConfigurationError, Ingestion, InvalidInputError, StreamSession
from streamgauge.asgi import StreamBytesMiddleware, bill_to
from streamgauge.customers import RequestView, view_of
from streamgauge.streams.attribution import Attribution
from streamgauge.testing import ManualClock, MemorySink, assert_conserved

App = Callable[[Any, Any, Any], Awaitable[None]]


def _scope(**changes: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/", "headers": [], **changes}


async def _no_more() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _sends(*bodies: bytes, customer_id: str | None = None) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if customer_id is not None:
            bill_to(scope, customer_id=customer_id)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def _call(app: App, scope: Any = None, receive: Any = _no_more) -> list[Any]:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(_scope() if scope is None else scope, receive, send)
    return sent


class Case:
    """A middleware around an application, called without a server."""

    def __init__(self, ingestion: Ingestion, sink: MemorySink) -> None:
        self.ingestion = ingestion
        self.sink = sink
        self.clock = ManualClock()

    def around(self, app: App, **options: Any) -> StreamBytesMiddleware:
        return StreamBytesMiddleware(app, ingestion=self.ingestion, clock=self.clock, **options)

    def billed(self) -> dict[str, int]:
        assert self.ingestion.flush()
        return self.sink.bytes_by_customer()


@pytest.fixture
def case(streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink) -> Case:
    return Case(streamgauge_ingestion, streamgauge_sink)


def test_a_resolver_names_the_customer_from_a_view_of_the_request(case: Case) -> None:
    meter = case.around(_sends(b"12345"), customer=lambda request: request.user)
    asyncio.run(_call(meter, _scope(user="ann")))
    assert case.billed() == {"ann": 5}


def test_an_asynchronous_resolver_is_asked_once_per_response_at_the_first_byte(case: Case) -> None:
    asked = []

    async def customer(request: RequestView) -> str:
        asked.append(request.path)
        await asyncio.sleep(0)
        return "ann"

    meter = case.around(_sends(b"", b"123", b"45"), customer=customer)
    asyncio.run(_call(meter))
    asyncio.run(_call(case.around(_sends(b""), customer=customer)))
    assert asked == ["/"]
    assert case.billed() == {"ann": 5}


def test_bill_to_comes_before_the_resolver(case: Case) -> None:
    meter = case.around(_sends(b"123", customer_id="ann"), customer=lambda _scope: "bob")
    asyncio.run(_call(meter))
    assert case.billed() == {"ann": 3}


@pytest.mark.parametrize("options", [{"layer": "wire"}, {"layers_told": ["http"]}, {}])
@pytest.mark.parametrize("message", ["http.response.start", "websocket.accept", "websocket.close"])
def test_a_resolver_is_asked_at_the_head_where_that_is_billed_or_told(
    case: Case, options: dict[str, Any], message: str
) -> None:
    asked: list[str] = []

    def customer(request: RequestView) -> str:
        asked.append(request.path)
        return "ann"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": message, "status": 204, "headers": []})
        assert len(asked) == len(options)

    scope = _scope(type=message.split(".", maxsplit=1)[0].replace("response", "http"))
    asyncio.run(_call(case.around(app, customer=customer, **options), scope))
    assert len(asked) == len(options)


def test_bytes_of_nobody_are_counted_and_not_billed(case: Case) -> None:
    for meter in (case.around(_sends(b"123")), case.around(_sends(b"1"), customer=lambda _: None)):
        before = meter.unattributed_bytes
        sent = asyncio.run(_call(meter))
        assert sent[0]["type"] == "http.response.start"
        assert meter.unattributed_bytes > before
        assert meter.failures == 0
    assert case.billed() == {}


def test_a_resolver_that_raises_leaves_the_response_alone_and_logs_once_a_minute(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    def customer(_scope: Any) -> str:
        raise LookupError("no such token")

    meter = case.around(_sends(b"123", b"45"), customer=customer)
    for seconds in (0, 0, 59, 1):
        case.clock.advance(seconds)
        assert asyncio.run(_call(meter)) == asyncio.run(_call(_sends(b"123", b"45")))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "no such token" in caplog.text
    assert meter.failures == 4
    assert meter.unattributed_bytes == 20
    assert case.billed() == {}


@pytest.mark.parametrize("named", ["", " ", 7, "x" * 256])
def test_a_resolver_that_names_no_possible_customer_leaves_the_response_alone(
    case: Case, named: Any, caplog: pytest.LogCaptureFixture
) -> None:
    meter = case.around(_sends(b"123"), customer=lambda _scope: named)
    assert len(asyncio.run(_call(meter))) == 3
    assert (meter.failures, meter.unattributed_bytes) == (1, 3)
    assert "customer_id" in caplog.text


def test_a_cancelled_resolver_is_no_failure(case: Case) -> None:
    async def customer(_scope: Any) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        task = asyncio.create_task(_call(meter))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    meter = case.around(_sends(b"123"), customer=customer)
    asyncio.run(scenario())
    assert meter.failures == 0


def test_messages_of_other_tasks_do_not_wait_for_the_resolver_and_are_billed(case: Case) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        first = asyncio.create_task(send({"type": "websocket.send", "text": "first"}))
        await asyncio.sleep(0)
        await send({"type": "websocket.send", "bytes": b"second", "text": None})
        answer.set()
        await first

    async def scenario() -> list[Any]:
        return await _call(meter, {"type": "websocket"})

    async def customer(_scope: Any) -> str:
        await answer.wait()
        return "ann"

    answer = asyncio.Event()
    meter = case.around(app, customer=customer)
    sent = asyncio.run(scenario())
    assert [message.get("text") or message["bytes"] for message in sent] == [b"second", "first"]
    assert case.billed() == {"ann": 11}
    assert meter.unattributed_bytes == 0


def test_metadata_of_the_middleware_is_kept_beside_that_of_bill_to(case: Case) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        bill_to(scope, customer_id="ann", metadata={"quality": "hd", "region": "eu"})
        await _sends(b"123")(scope, receive, send)

    asyncio.run(_call(case.around(app, metadata={"platform": "web", "quality": "?"})))
    asyncio.run(_call(case.around(app, metadata=lambda request: {"path": request.path})))
    assert case.billed() == {"ann": 6}
    kept = [{**event.metadata} for event in case.sink.events]
    assert {"platform": "web", "quality": "hd", "region": "eu", "bytes": 3} in kept
    assert {"path": "/", "quality": "hd", "region": "eu", "bytes": 3} in kept


async def _metadata_later(_request: Any) -> dict[str, str]:
    return {}


@pytest.mark.parametrize(
    "metadata",
    [
        lambda request: request.raw["missing"],
        lambda _: "no mapping",
        lambda _: {"quality": None},
        lambda _: {"text": "x" * 501},
        _metadata_later,
    ],
)
def test_a_metadata_function_that_fails_leaves_the_response_alone(
    case: Case, metadata: Any, caplog: pytest.LogCaptureFixture
) -> None:
    meter = case.around(_sends(b"123", b"4"), customer=lambda _: "ann", metadata=metadata)
    assert len(asyncio.run(_call(meter))) == 4
    assert (meter.failures, meter.unattributed_bytes) == (1, 4)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert case.billed() == {}


def test_a_slow_resolver_is_cancelled_and_keeps_no_other_stream_waiting(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    async def customer(request: RequestView) -> str:
        if request.path == "/slow":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("slow")
        return "ann"

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_call(meter, _scope(path="/slow"))).add_done_callback(
                lambda _: ended.append("its response")
            )
            await asyncio.sleep(0)
            await _call(meter)
            ended.append("another")

    ended: list[str] = []
    meter = case.around(_sends(b"123", b"45"), customer=customer)
    meter.attribution.customer_wait_s = 0.05
    asyncio.run(scenario())
    assert ended == ["another", "slow", "its response"]
    assert (meter.failures, meter.unattributed_bytes) == (1, 5)
    assert "no answer within 0.05 s" in caplog.text
    assert case.billed() == {"ann": 5}


def test_a_resolvers_own_timeout_is_its_failure(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    async def customer(_request: RequestView) -> str:
        raise TimeoutError("the cache is away")

    meter = case.around(_sends(b"123"), customer=customer)
    asyncio.run(_call(meter))
    assert meter.failures == 1
    assert "the cache is away" in caplog.text


async def _customer_later(_request: RequestView) -> str:
    return "ann"


@pytest.mark.parametrize(
    ("customer", "named", "failures"),
    [
        (lambda request: request.raw["REMOTE_USER"], "ann", 0),
        (lambda _: None, None, 0),
        (None, None, 0),
        (lambda request: request.raw["missing"], None, 1),
        (lambda _: "x" * 256, None, 1),
        (_customer_later, None, 1),
    ],
)
def test_where_nothing_can_be_awaited_a_resolver_answers_at_once_or_names_nobody(
    case: Case, customer: Any, named: str | None, failures: int
) -> None:
    attribution = Attribution(case.ingestion, customer=customer, metadata=None, clock=ManualClock())
    request = view_of({"REQUEST_METHOD": "GET", "REMOTE_USER": "ann"})
    payer = attribution.find_now(request)
    assert (payer and payer.customer_id, attribution.failures) == (named, failures)


def test_two_middlewares_count_once(case: Case) -> None:
    inner = case.around(_sends(b"123", customer_id="ann"))
    asyncio.run(_call(case.around(inner)))
    assert case.billed() == {"ann": 3}


def test_a_response_after_the_client_is_gone_is_not_counted(case: Case) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        bill_to(scope, customer_id="ann")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"6789"})

    asyncio.run(_call(case.around(app)))
    assert case.billed() == {"ann": 5}


def test_a_cancelled_response_ends_its_session(case: Case, sessions: list[StreamSession]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _sends(b"12345", customer_id="ann")(scope, receive, send)
        waits.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        task = asyncio.create_task(_call(case.around(app)))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    waits = asyncio.Event()
    asyncio.run(scenario())
    assert [session.is_counting for session in sessions] == [False]
    assert case.billed() == {"ann": 5}


def test_sending_a_file_by_its_path_is_not_offered(case: Case) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(set(scope["extensions"]))

    offered = {"http.response.pathsend": {}, "http.response.zerocopysend": {}, "tls": {}}
    asyncio.run(_call(case.around(app), _scope(extensions=offered)))
    asyncio.run(_call(case.around(app), _scope(extensions={"tls": {}})))
    assert seen == [{"tls"}, {"tls"}]
    assert "http.response.pathsend" in offered


def test_a_path_sent_without_being_offered_is_billed_by_its_size(
    case: Case, tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(b"x" * 1_234)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bill_to(scope, customer_id="ann")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "film")})

    asyncio.run(_call(case.around(app)))
    assert case.billed() == {"ann": 1_234}


def test_other_scopes_pass_through(case: Case) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive))

    scope = {"type": "lifespan"}
    asyncio.run(_call(case.around(app), scope))
    assert seen == [({"type": "lifespan"}, _no_more)]


def test_bill_to_without_the_middleware_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"add_middleware\(StreamBytesMiddleware"):
        bill_to(Request(_scope()), customer_id="ann")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": None}, "customer_id"),
        ({"customer_id": "ann", "metadata": {"bytes": 5}}, "metadata.bytes"),
        ({"customer_id": "ann", "metadata": {"quality": ["hd"]}}, "metadata.quality"),
    ],
)
def test_bill_to_refuses_bad_input_where_it_is_called_and_changes_nothing(
    case: Case, options: dict[str, Any], field: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        bill_to(scope, customer_id="bob")
        with pytest.raises(InvalidInputError) as caught:
            bill_to(scope, **options)
        assert caught.value.field == field
        await _sends(b"123")(scope, receive, send)

    asyncio.run(_call(case.around(app)))
    assert case.billed() == {"bob": 3}


def test_a_response_outlives_its_ingestion_and_its_bytes_are_still_accounted_for(
    case: Case,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        bill_to(scope, customer_id="ann")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        assert case.ingestion.close()
        await send({"type": "http.response.body", "body": b"678", "more_body": True})
        await send({"type": "http.response.body", "body": b"9"})

    assert len(asyncio.run(_call(case.around(app)))) == 4
    stats = case.ingestion.stats()
    assert stats.counted_bytes == 9
    assert_conserved(stats)
    assert case.sink.bytes_by_customer() == {"ann": 5}
