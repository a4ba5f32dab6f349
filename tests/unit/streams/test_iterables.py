from __future__ import annotations

import array
import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest

from streamgauge import Ingestion, InvalidInputError, StreamSession
from streamgauge.streams.iterables import measure
from streamgauge.testing import MemorySink
from tests.unit.streams.collecting import collect_until

WIDE = memoryview(array.array("I", [1, 2, 3]))


class Source:
    """An iterable that knows whether it was closed."""

    def __init__(self, *chunks: Any) -> None:
        self._chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._chunks)

    def close(self) -> None:
        self.closed += 1


class AsyncSource:
    def __init__(self, *chunks: Any) -> None:
        self._chunks = iter(chunks)
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        await asyncio.sleep(0)
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def session(streamgauge_ingestion: Ingestion) -> StreamSession:
    return streamgauge_ingestion.session(customer_id="ann")


def _is_open(session: StreamSession) -> bool:
    return session.is_counting


def test_chunks_come_out_as_they_went_in_and_are_billed_by_their_bytes(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    chunks = [b"12345", b"", bytearray(b"678"), memoryview(b"90"), WIDE]
    metadata = {"quality": "hd"}
    out = list(measure(chunks, streamgauge_ingestion, customer_id="ann", metadata=metadata))
    assert [id(chunk) for chunk in out] == [id(chunk) for chunk in chunks]
    assert streamgauge_ingestion.flush()
    (event,) = streamgauge_sink.events
    assert event.customer_id == "ann"
    assert event.metadata == {"quality": "hd", "bytes": 5 + 3 + 2 + 12}


def test_asynchronous_chunks_are_billed_too(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> None:
    async def scenario() -> list[bytes]:
        chunks = measure(AsyncSource(b"12", b"345"), streamgauge_ingestion, customer_id="ann")
        return [chunk async for chunk in chunks]

    assert asyncio.run(scenario()) == [b"12", b"345"]
    assert streamgauge_ingestion.flush()
    assert streamgauge_sink.bytes_by_customer() == {"ann": 5}


def test_a_chunk_is_counted_before_it_is_handed_on(session: StreamSession) -> None:
    chunks = measure(iter([b"12", b"345"]), session)
    assert session.total == 0
    next(chunks)
    assert session.total == 2
    assert _is_open(session)


def test_the_end_ends_the_session(session: StreamSession) -> None:
    assert b"".join(measure([b"12", b"345"], session)) == b"12345"
    assert session.total == 5
    assert not _is_open(session)


def test_an_error_of_the_source_ends_the_session_and_comes_through(
    session: StreamSession,
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"12"
        raise OSError("disk")

    chunks = measure(broken(), session)
    next(chunks)
    with pytest.raises(OSError, match="disk"):
        next(chunks)
    assert not _is_open(session)
    assert session.total == 2


@pytest.mark.parametrize("way", ["close", "with", "closing"])
def test_closing_closes_the_source_and_ends_the_session(session: StreamSession, way: str) -> None:
    source = Source(b"12", b"345")
    chunks = measure(source, session)
    next(chunks)
    if way == "close":
        chunks.close()
    else:
        with closing(chunks) if way == "closing" else chunks:
            pass
    assert source.closed == 1
    assert not _is_open(session)


def test_closing_a_generator_runs_its_finally(session: StreamSession) -> None:
    seen = []

    def source() -> Iterator[bytes]:
        try:
            yield b"12"
        finally:
            seen.append("finally")

    chunks = measure(source(), session)
    next(chunks)
    chunks.close()
    assert seen == ["finally"]


def test_a_source_without_close_can_be_closed(session: StreamSession) -> None:
    measure([b"12"], session).close()
    assert not _is_open(session)


def test_a_source_whose_close_fails_still_ends_the_session(session: StreamSession) -> None:
    source = Source(b"12", b"345")
    source.close = lambda: io.BytesIO().write("x")  # type: ignore[method-assign, arg-type]
    chunks = measure(source, session)
    next(chunks)
    with pytest.raises(TypeError):
        chunks.close()
    assert not _is_open(session)


@pytest.mark.parametrize("source", [Source, AsyncSource])
def test_an_iterator_that_is_dropped_ends_the_session(session: StreamSession, source: Any) -> None:
    session.add(1)
    chunks = measure(source(b"12"), session)
    ring = [chunks]
    ring.append(ring)
    del chunks, ring
    collect_until(lambda: not _is_open(session))
    assert not _is_open(session)


def test_asynchronous_ends_errors_and_closes_end_the_session(
    streamgauge_ingestion: Ingestion,
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12"
        raise OSError("disk")

    async def scenario() -> None:
        ended = streamgauge_ingestion.session(customer_id="ann")
        assert [chunk async for chunk in measure(AsyncSource(b"12"), ended)] == [b"12"]
        failed = streamgauge_ingestion.session(customer_id="ann")
        with pytest.raises(OSError, match="disk"):
            async for _ in measure(broken(), failed):
                pass
        closed, source = streamgauge_ingestion.session(customer_id="ann"), AsyncSource(b"1", b"2")
        async with aclosing(measure(source, closed)) as chunks:
            await anext(chunks)
        assert source.closed == 1
        assert [ended.total, failed.total, closed.total] == [2, 2, 1]
        assert not any(map(_is_open, (ended, failed, closed)))

    asyncio.run(scenario())


def test_a_cancelled_consumer_ends_the_session(session: StreamSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"12"
        waits.set()
        await asyncio.Event().wait()

    async def consume() -> None:
        async for _ in measure(endless(), session):
            pass

    async def scenario() -> None:
        task = asyncio.create_task(consume())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    waits = asyncio.Event()
    asyncio.run(scenario())
    assert session.total == 2
    assert not _is_open(session)


@pytest.mark.parametrize("chunk", ["text", 7, None, [b"x"]])
def test_a_chunk_that_is_not_bytes_is_refused_with_what_to_do(
    session: StreamSession, chunk: Any
) -> None:
    chunks = measure([b"12", chunk], session)
    next(chunks)
    with pytest.raises(InvalidInputError, match="be bytes-like"):
        next(chunks)
    assert session.total == 2
    assert not _is_open(session)


@pytest.mark.parametrize("chunks", [b"12345", bytearray(b"1"), memoryview(b"1"), "text", 7, None])
def test_what_is_no_iterable_of_chunks_is_refused_at_once(
    session: StreamSession, chunks: Any
) -> None:
    with pytest.raises(InvalidInputError, match="chunks is"):
        measure(chunks, session)


def test_a_customer_is_needed_with_an_ingestion_and_refused_with_a_session(
    streamgauge_ingestion: Ingestion, session: StreamSession
) -> None:
    untyped: Any = measure
    with pytest.raises(InvalidInputError, match="customer_id is None; it must say who pays"):
        untyped([b"1"], streamgauge_ingestion)
    with pytest.raises(InvalidInputError, match="customer_id is 'bob'; it must not stand beside"):
        untyped([b"1"], session, customer_id="bob")
    with pytest.raises(InvalidInputError, match="customer_id is ' '; it must"):
        untyped([b"1"], streamgauge_ingestion, customer_id=" ")
