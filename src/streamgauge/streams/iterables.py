"""Chunks of an iterable, counted as they are handed on."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from streamgauge.core.errors import InvalidInputError
from streamgauge.sdk.session import StreamSession

if TYPE_CHECKING:
    from types import TracebackType

    from streamgauge.sdk.ingestion import Ingestion

Chunk = TypeVar("Chunk", bound=bytes | bytearray | memoryview)


class MeasuredIterator(Iterator[Chunk], Generic[Chunk]):
    """Hands on the chunks of an iterable and counts their bytes.

    The session ends with the last chunk, an error, ``close`` or the iterator itself.
    """

    __slots__ = ("_next", "_session", "_source")

    def __init__(self, source: Iterable[Chunk], session: StreamSession) -> None:
        self._session = session
        self._source = source
        self._next = iter(source).__next__

    def __iter__(self) -> MeasuredIterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        try:
            chunk = self._next()
            self._session.add(len(chunk) if type(chunk) is bytes else size_of(chunk))
        except BaseException:
            self._session.close()
            raise
        return chunk

    def __enter__(self) -> MeasuredIterator[Chunk]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._session.close()

    def close(self) -> None:
        """Close the source, if it can be closed, and end the session."""
        try:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
        finally:
            self._session.close()


class MeasuredAsyncIterator(AsyncIterator[Chunk], Generic[Chunk]):
    """Hands on the chunks of an asynchronous iterable and counts their bytes.

    The session ends with the last chunk, an error, a cancellation, ``aclose`` or the iterator
    itself.
    """

    __slots__ = ("_next", "_session", "_source")

    def __init__(self, source: AsyncIterable[Chunk], session: StreamSession) -> None:
        self._session = session
        self._source = source
        self._next = aiter(source).__anext__

    def __aiter__(self) -> MeasuredAsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await self._next()
            self._session.add(len(chunk) if type(chunk) is bytes else size_of(chunk))
        except BaseException:
            self._session.close()
            raise
        return chunk

    async def __aenter__(self) -> MeasuredAsyncIterator[Chunk]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._session.close()

    async def aclose(self) -> None:
        """Close the source, if it can be closed, and end the session."""
        try:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._session.close()


@overload
def measure(
    chunks: AsyncIterable[Chunk],
    ingestion: Ingestion,
    *,
    customer_id: str,
    metadata: Mapping[str, object] | None = None,
) -> MeasuredAsyncIterator[Chunk]: ...


@overload
def measure(
    chunks: Iterable[Chunk],
    ingestion: Ingestion,
    *,
    customer_id: str,
    metadata: Mapping[str, object] | None = None,
) -> MeasuredIterator[Chunk]: ...


@overload
def measure(
    chunks: AsyncIterable[Chunk], ingestion: StreamSession
) -> MeasuredAsyncIterator[Chunk]: ...


@overload
def measure(chunks: Iterable[Chunk], ingestion: StreamSession) -> MeasuredIterator[Chunk]: ...


def measure(
    chunks: Iterable[Chunk] | AsyncIterable[Chunk],
    ingestion: Ingestion | StreamSession,
    *,
    customer_id: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> MeasuredIterator[Chunk] | MeasuredAsyncIterator[Chunk]:
    """Return ``chunks`` as an iterator that counts every byte it hands on.

    Args:
        chunks: An iterable, synchronous or not, of bytes-like objects.
        ingestion: Where to; or a session of it, which then ends with the stream.
        customer_id: Who pays; not with a session, which has a customer.
        metadata: What the bytes are, as for ``Ingestion.session``; not with a session.

    Raises:
        InvalidInputError: A value breaks a rule; a chunk that is not bytes-like raises it when
            its turn comes.
    """
    if isinstance(chunks, str | bytes | bytearray | memoryview):
        raise InvalidInputError("chunks", type(chunks), "be an iterable of bytes, such as [data]")
    make = _maker(chunks)
    return make(session_of(ingestion, customer_id, metadata))


def session_of(
    ingestion: Ingestion | StreamSession,
    customer_id: str | None,
    metadata: Mapping[str, object] | None,
) -> StreamSession:
    """Return a caller's session, or a new one of a customer.

    Raises:
        InvalidInputError: A value breaks a rule.
    """
    if isinstance(ingestion, StreamSession):
        if customer_id is not None or metadata is not None:
            raise InvalidInputError("customer_id", customer_id, "not stand beside a session's own")
        return ingestion
    if customer_id is None:
        raise InvalidInputError("customer_id", customer_id, "say who pays")
    return ingestion.session(customer_id=customer_id, metadata=metadata)


def size_of(chunk: object) -> int:
    """Return the bytes of a bytes-like object, whatever the size of its items.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        return memoryview(chunk).nbytes  # type: ignore[arg-type]
    except TypeError:
        rule = "be bytes-like; encode text before it is streamed"
        raise InvalidInputError("chunk", chunk, rule) from None


def message_size(message: Mapping[str, Any]) -> int:
    """Return the bytes of a WebSocket message of ASGI: its ``bytes``, or its ``text`` in UTF-8."""
    data = message.get("bytes")
    if data is not None:
        return size_of(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode())


def _maker(
    chunks: Iterable[Chunk] | AsyncIterable[Chunk],
) -> Callable[[StreamSession], MeasuredIterator[Chunk] | MeasuredAsyncIterator[Chunk]]:
    if isinstance(chunks, AsyncIterable):
        return lambda session: MeasuredAsyncIterator(chunks, session)
    if isinstance(chunks, Iterable):
        return lambda session: MeasuredIterator(chunks, session)
    raise InvalidInputError("chunks", chunks, "be an iterable of bytes")
