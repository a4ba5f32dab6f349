"""What a log asks of JetStream; every call blocks, from any thread but the connection's own."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from streamgauge.core.errors import ConfigurationError, UnavailableError
from streamgauge.server.ingest.nats_connection import Connection

T = TypeVar("T")

# Elections take one to four seconds; beyond, whoever asks is told to try again.
CALL_S: Final = 5.0
_ATTEMPT_S: Final = 1.5
_RETRY_WAIT_S: Final = 0.05
_READ_MESSAGES_MAX: Final = 1_000
_WRONG_LAST_SEQUENCE: Final = 10_071
_SEQUENCE: Final = "Nats-Sequence"
_MESSAGE_ID: Final = "Nats-Msg-Id"
_EXPECTED: Final = "Nats-Expected-Last-Sequence"


class Message(NamedTuple):
    """One message of a stream.

    Attributes:
        sequence: Its place, from 1 on.
        id: As its publisher named it; empty where it did not.
    """

    sequence: int
    id: str
    data: bytes


class StreamState(NamedTuple):
    """How far a stream reaches.

    Attributes:
        first: The oldest sequence it may still hold; ``last + 1`` in an empty one.
        last: The newest sequence it ever held, 0 for none.
        size_bytes: What it holds.
        bytes_max: What it may hold.
    """

    first: int
    last: int
    size_bytes: int
    bytes_max: int


class OutOfTurnError(UnavailableError):
    """Somebody else has published where we expected to."""


class JetStream(Connection):
    """A connection to a NATS cluster with JetStream.

    Args:
        servers: URLs such as ``nats://host:4222``; any of them leads to all.
        name: Ours, as the servers list it.
        replicas: How many nodes keep what is published, of streams that this makes.

    Raises:
        ConfigurationError: No server lets us in.
    """

    def __init__(self, servers: Sequence[str], *, name: str, replicas: int) -> None:
        super().__init__(servers, name=name)
        self._replicas = replicas
        self._jetstream: JetStreamContext = self._client.jetstream(timeout=_ATTEMPT_S)

    @property
    def payload_bytes_max(self) -> int:
        """Return how large a message the servers take."""
        return int(self._client.max_payload)

    def ensure_stream(self, stream: str, subject: str, *, bytes_max: int, keeps: int = -1) -> str:
        """Make a stream of one subject, unless it is there, and return the name it got then.

        The name is random, so that a stream that is deleted and made again has another one.

        Args:
            stream: Its name.
            subject: What is published to it.
            bytes_max: What it may hold; beyond, it refuses.
            keeps: How many messages it keeps; -1 keeps all.

        Raises:
            ConfigurationError: It is there and has another form, or cannot be made.
        """
        wanted = StreamConfig(
            name=stream,
            description=secrets.token_hex(16),
            subjects=[subject],
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            max_bytes=bytes_max,
            max_msgs=keeps,
            discard=DiscardPolicy.NEW if keeps < 0 else DiscardPolicy.OLD,
            allow_direct=True,
        )
        try:
            found = self._retried(lambda: self._find_or_add(wanted)).config
        except UnavailableError as error:
            raise ConfigurationError(
                f"the stream {stream} cannot be used with {self._replicas} replicas: {error}"
            ) from error
        if found.subjects != [subject] or not found.allow_direct or found.max_age:
            raise ConfigurationError(f"the stream {stream} is there, but it is none of ours")
        return found.description or ""

    def publish(self, subject: str, messages: Sequence[tuple[str, bytes]]) -> list[int]:
        """Publish messages under their ids and return their sequences, once a quorum has them.

        The same id again, within two minutes, is not stored twice.

        Raises:
            UnavailableError: Some may not be stored; the same call may be made again.
        """

        async def publish_all() -> list[int]:
            acks = [
                self._jetstream.publish(subject, data, headers={_MESSAGE_ID: id})
                for id, data in messages
            ]
            return [ack.seq for ack in await asyncio.gather(*acks)]

        return self._retried(publish_all)

    def publish_after(self, subject: str, data: bytes, last: int) -> int:
        """Publish a message as the one after sequence ``last`` of its stream.

        Raises:
            OutOfTurnError: The stream has gone on since, perhaps by this call.
            UnavailableError: It may not be stored.
        """
        headers = {_EXPECTED: str(last)}
        try:
            return self._retried(
                lambda: self._jetstream.publish(subject, data, headers=headers)
            ).seq
        except APIError as error:
            raise OutOfTurnError(f"{subject} has gone on after {last}") from error

    def state(self, stream: str) -> StreamState:
        """Return how far a stream reaches, by its leader.

        Raises:
            UnavailableError: It has none now.
        """
        info: StreamInfo = self._retried(lambda: self._jetstream.stream_info(stream))
        state = info.state
        bound = info.config.max_bytes or 0
        return StreamState(max(state.first_seq, 1), state.last_seq, state.bytes, bound)

    def read(self, stream: str, first: int, bytes_max: int) -> list[Message]:
        """Return messages from sequence ``first`` on, by any replica, so perhaps not the newest.

        Args:
            stream: Its name.
            first: The first wanted; what was removed is passed over.
            bytes_max: About how much at once; at least one message comes.

        Raises:
            UnavailableError: No replica answers.
        """
        asked = {"seq": first, "batch": _READ_MESSAGES_MAX, "max_bytes": bytes_max}
        subject = f"$JS.API.DIRECT.GET.{stream}"
        return self._retried(lambda: self._read(subject, json.dumps(asked).encode()))

    def purge(self, stream: str, before: int) -> None:
        """Remove the messages before a sequence.

        Raises:
            UnavailableError: The stream has no leader now.
        """
        self._retried(lambda: self._jetstream.purge_stream(stream, seq=before))

    async def _find_or_add(self, wanted: StreamConfig) -> StreamInfo:
        try:
            return await self._jetstream.stream_info(wanted.name or "")
        except NotFoundError:
            return await self._jetstream.add_stream(wanted)

    async def _read(self, subject: str, asked: bytes) -> list[Message]:
        inbox = self._client.new_inbox()
        replies = await self._client.subscribe(inbox)
        found: list[Message] = []
        try:
            await self._client.publish(subject, asked, reply=inbox)
            while True:
                message = await replies.next_msg(_ATTEMPT_S)
                headers = message.headers or {}
                if _SEQUENCE not in headers:
                    if headers.get("Status") in {"204", "404"}:
                        return found
                    raise UnavailableError(f"{subject} answers {headers}", 2)
                id = headers.get(_MESSAGE_ID, "")
                found.append(Message(int(headers[_SEQUENCE]), id, message.data))
        finally:
            await replies.unsubscribe()

    def _retried(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what an attempt brings; leaders are lost and elected meanwhile."""
        return self._run(self._attempts(attempt), CALL_S + 2 * _ATTEMPT_S)

    async def _attempts(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        deadline = self._loop.time() + CALL_S
        while True:
            try:
                return await attempt()
            except APIError as error:
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    raise
                # All others pass: no leader yet, nodes that do not know each other yet, a full
                # stream, an id whose first message is still on its way to the quorum.
                reason: Exception = error
            except (NatsError, OSError, TimeoutError) as error:
                reason = error
            if self._loop.time() > deadline:
                text = str(reason) or type(reason).__name__
                raise UnavailableError(f"NATS does not answer: {text}", 2) from reason
            await asyncio.sleep(_RETRY_WAIT_S)
