"""A connected socket whose bytes are counted."""

from __future__ import annotations

import io
import os
import socket as sockets
from collections.abc import Callable, Iterable
from socket import socket as Socket  # noqa: N812 - arguments have the other name
from types import TracebackType
from typing import IO, Any, Self

from streamgauge.streams.files import MeasuredFile
from streamgauge.streams.sockets.stream import SocketStream

Data = bytes | bytearray | memoryview


class MeasuredSocket:
    """A socket, plain or of TLS, whose payload is counted; everything else is the socket's own.

    It goes wherever a socket goes that is used by its methods: ``selectors``, ``asyncio``'s
    ``loop.sock_sendall``, a thread for each direction.
    """

    def __init__(self, socket: Socket, stream: SocketStream, *, sends: bool) -> None:
        self._socket: Any = socket
        self._stream = stream
        self._on_send = stream.count if sends else _nothing
        self._on_receive = _nothing if sends else stream.count
        self._sends = sends

    def send(self, data: Data, flags: int = 0, /) -> int:
        """Send what the socket takes, and count that."""
        return self._sent(self._socket.send(data, flags))

    def sendall(self, data: Data, flags: int = 0, /) -> None:
        """Count everything, and send it; after an error, what did not arrive is taken back."""
        self._on_send(memoryview(data).nbytes)
        self._socket.sendall(data, flags)

    def sendto(self, data: Data, *rest: object) -> int:
        """Send what the socket takes, and count that."""
        return self._sent(self._socket.sendto(data, *rest))

    def sendmsg(self, buffers: Iterable[Data], *rest: object) -> int:
        """Send what the socket takes, and count that."""
        return self._sent(self._socket.sendmsg(buffers, *rest))

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a file without copying it, where the socket can; it is billed as it arrives."""
        with promised(self._stream, file, offset, count, sends=self._sends) as done:
            return done(self._socket.sendfile(file, offset, count))

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive, and count."""
        data: bytes = self._socket.recv(size, flags)
        self._received(len(data), size, flags)
        return data

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0, flags: int = 0) -> int:
        """Receive into a buffer, and count."""
        return self._received(self._socket.recv_into(buffer, size, flags), len(buffer), flags)

    def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Receive, and count."""
        data, address = self._socket.recvfrom(size, flags)
        self._received(len(data), size, flags)
        return data, address

    def recvfrom_into(
        self, buffer: bytearray | memoryview, size: int = 0, flags: int = 0
    ) -> tuple[int, Any]:
        """Receive into a buffer, and count."""
        received, address = self._socket.recvfrom_into(buffer, size, flags)
        return self._received(received, len(buffer), flags), address

    def recvmsg(self, size: int, *rest: Any) -> Any:  # noqa: ANN401 - as the socket's
        """Receive, and count."""
        message = self._socket.recvmsg(size, *rest)
        self._received(len(message[0]), size, *rest[1:])
        return message

    def recvmsg_into(self, buffers: Iterable[Any], *rest: Any) -> Any:  # noqa: ANN401
        """Receive into buffers, and count."""
        message = self._socket.recvmsg_into(buffers, *rest)
        self._received(message[0], 1, *rest[1:])
        return message

    def write(self, data: Data, /) -> int:
        """Send what a socket of TLS takes, and count that."""
        return self._sent(self._socket.write(data))

    def read(self, size: int = 1024, buffer: bytearray | None = None) -> bytes | int:
        """Receive from a socket of TLS, and count."""
        if buffer is not None:
            return self._received(self._socket.read(size, buffer), size)
        data: bytes = self._socket.read(size)
        self._received(len(data), size)
        return data

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Return a file of the socket; its bytes are counted as they are read or written."""
        binary = mode if "b" in mode else f"{mode}b"
        file = MeasuredFile(
            self._socket.makefile(binary, buffering),
            on_read=self._on_receive,
            on_write=self._on_send,
            on_close=lambda: None,
        )
        return file if "b" in mode else io.TextIOWrapper(file, **options)

    def close(self) -> None:
        """Close the socket; the stream ends when the kernel is done with it."""
        self._socket.close()
        self._stream.end()

    def detach(self) -> int:
        """Give the descriptor away; the stream ends with the connection."""
        descriptor: int = self._socket.detach()
        return descriptor

    def _sent(self, size: int) -> int:
        self._on_send(size)
        return size

    def _received(self, size: int, asked: int, flags: int = 0) -> int:
        if not flags & sockets.MSG_PEEK:
            # What is only looked at is received again.
            self._on_receive(size)
        if not size and asked:
            self._stream.peer_is_done = True
        return size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the socket has
        return getattr(self._socket, name)

    def __repr__(self) -> str:
        return f"<MeasuredSocket of {self._socket!r}>"


class promised:  # noqa: N801 - used as a function
    """Bills a file that is sent by others, while it is sent.

    Where the kernel can be asked, the file's bytes are promised first and billed as they arrive;
    elsewhere they are counted when they were sent.
    """

    def __init__(
        self,
        stream: SocketStream,
        file: IO[bytes],
        offset: int,
        count: int | None,
        *,
        sends: bool,
    ) -> None:
        self._stream = stream
        self._sends = sends
        size = _rest_of(file, offset, count) if sends and stream.has_kernel else None
        self._size = size or 0
        self._is_promised = size is not None
        self._done = 0

    def __enter__(self) -> Callable[[int], int]:
        self._stream.promise(self._size)
        return self._note

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._sends:
            return
        if not self._is_promised:
            self._stream.count(self._done)
        elif kind is None:
            # The file was shorter or longer than it was.
            self._stream.promise(self._done - self._size)

    def _note(self, sent: int) -> int:
        self._done = sent
        return sent


def _rest_of(file: IO[bytes], offset: int, count: int | None) -> int | None:
    try:
        size = max(os.fstat(file.fileno()).st_size - offset, 0)
    except (OSError, AttributeError):
        return None
    return size if count is None else min(size, count)


def _nothing(_size: int) -> None:
    """Count nothing: the other direction is billed."""
