"""What no server does on request: responses that nobody takes or closes, and odd applications."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Iterable
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from streamgauge import Ingestion
from streamgauge.core.clock import SystemClock
from streamgauge.streams.kernel.connections import Connections
from streamgauge.streams.layers import Measured
from streamgauge.testing import MemorySink
from streamgauge.wsgi import StreamBytesMiddleware, bill_to
from tests.unit.streams.collecting import collect_until


class Inside:
    """Goes with what it is in."""


def start_response(*_: Any) -> Any:
    return lambda data: None


@pytest.fixture
def records() -> list[Measured]:
    return []


@pytest.fixture
def run(streamgauge_ingestion: Ingestion, records: list[Measured]) -> Any:
    connections = Connections(SystemClock())

    def call(app: Any, payer: str | None = "ann", **environ: Any) -> Iterable[bytes]:
        setup_testing_defaults(environ)
        for _ in range(environ.pop("middlewares", 1)):
            app = StreamBytesMiddleware(
                app,
                ingestion=streamgauge_ingestion,
                customer=lambda request: payer,
                on_measured=records.append,
                connections=connections,
            )
        return app(environ, start_response)

    return call


def chunks(environ: Any, start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b"12", b"345"]


def billed(ingestion: Ingestion, sink: MemorySink) -> dict[str, int]:
    assert ingestion.flush()
    return sink.bytes_by_customer()


def test_a_response_that_nobody_takes_or_closes_ends_when_it_is_collected(
    run: Any, records: list[Measured]
) -> None:
    inside = Inside()
    ring: list[Any] = [run(chunks), inside]
    ring.append(ring)
    left = weakref.ref(inside)
    del ring, inside
    collect_until(lambda: left() is None)
    assert left() is None
    assert records == [], "the collector may run under any lock"
    run(chunks)
    assert [one.payload.bytes for one in records] == [0]


def test_a_response_that_is_dropped_in_the_middle_bills_what_was_taken(
    run: Any,
    records: list[Measured],
    streamgauge_ingestion: Ingestion,
    streamgauge_sink: MemorySink,
) -> None:
    response = iter(run(chunks))
    next(response)
    del response
    gc.collect()
    run(chunks)
    assert [one.payload.bytes for one in records] == [2]
    assert billed(streamgauge_ingestion, streamgauge_sink) == {"ann": 2}


def test_a_second_middleware_leaves_the_counting_to_the_first(
    run: Any, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    assert b"".join(run(chunks, middlewares=2)) == b"12345"
    gc.collect()
    assert billed(streamgauge_ingestion, streamgauge_sink) == {"ann": 5}


def test_a_list_keeps_its_length_and_a_generator_has_none(run: Any) -> None:
    assert len(run(chunks)) == 2
    generator = run(lambda environ, start: iter(chunks(environ, start)))
    with pytest.raises(TypeError):
        len(generator)


def test_what_is_written_the_old_way_is_counted(
    run: Any, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    def writing(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])(b"1234567")
        return []

    run(writing).close()
    assert billed(streamgauge_ingestion, streamgauge_sink) == {"ann": 7}


def test_a_customer_named_when_the_response_closes_is_billed(
    run: Any, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    class Body:
        def __init__(self, environ: Any) -> None:
            self.environ = environ

        def __iter__(self) -> Any:
            return iter([b"123"])

        def close(self) -> None:
            bill_to(self.environ, customer_id="bob")

    def app(environ: Any, start: Any) -> Body:
        start("200 OK", [])
        return Body(environ)

    response = run(app, payer=None)
    assert b"".join(response) == b"123"
    response.close()
    assert billed(streamgauge_ingestion, streamgauge_sink) == {"bob": 3}


def test_a_file_without_a_socket_behind_it_is_counted_chunk_by_chunk(
    run: Any, streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        assert "wsgi.file_wrapper" not in environ
        return FileWrapper(io.BytesIO(bytes(30_000)))

    response = run(app, **{"wsgi.file_wrapper": FileWrapper})
    assert sum(map(len, response)) == 30_000
    response.close()
    assert billed(streamgauge_ingestion, streamgauge_sink) == {"ann": 30_000}


def test_text_is_left_to_the_server_to_refuse(run: Any, records: list[Measured]) -> None:
    def app(environ: Any, start: Any) -> list[Any]:
        start("200 OK", [])
        return ["text"]

    response = run(app)
    assert list(response) == ["text"]
    response.close()
    assert [one.payload.bytes for one in records] == [0]


@pytest.mark.parametrize("way", ["read", "readline", "readlines", "iterate"])
def test_an_upload_is_counted_as_it_is_read(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink, way: str
) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        if way == "read":
            assert stream.read(3) + stream.read() == b"one\ntwo\n"
        elif way == "readline":
            assert [stream.readline(), stream.readline()] == [b"one\n", b"two\n"]
        elif way == "readlines":
            assert stream.readlines() == [b"one\n", b"two\n"]
        else:
            assert list(stream) == [b"one\n", b"two\n"]
        start("200 OK", [])
        return [b"not counted"]

    metered = StreamBytesMiddleware(
        app,
        ingestion=streamgauge_ingestion,
        customer=lambda request: "ann",
        direction="ingress",
    )
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(b"one\ntwo\n")}
    setup_testing_defaults(environ)
    response: Any = metered(environ, start_response)
    assert list(response) == [b"not counted"]
    response.close()
    assert billed(streamgauge_ingestion, streamgauge_sink) == {"ann": 8}
