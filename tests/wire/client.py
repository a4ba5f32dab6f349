"""A client that writes down, per response, exactly what arrived and at which layer."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import struct
from typing import Final, Literal

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

_RECEIVE_BYTES: Final = 64 * 1024
_TIMEOUT_S: Final = 60.0
_BODYLESS_STATUSES: Final = frozenset({204, 304})


@dataclasses.dataclass
class Response:
    """What arrived of one response or WebSocket.

    Attributes:
        payload_bytes: The body without its framing; of a WebSocket, the data of its messages.
        http_bytes: Head, body and framing.
        stream_bytes: What the TCP stream carried from this request to the next, or to the end:
            equal to ``http_bytes`` without TLS, with TLS its records too.
    """

    customer_id: str
    head_bytes: int = 0
    payload_bytes: int = 0
    http_bytes: int = 0
    stream_bytes: int = 0
    is_complete: bool = False


class Link:
    """A TCP connection, perhaps under TLS, that counts what arrives."""

    def __init__(self, connected: socket.socket, tls: ssl.SSLContext | None) -> None:
        connected.settimeout(_TIMEOUT_S)
        self._socket = connected
        self.port: int = connected.getsockname()[1]
        self.stream_bytes = 0
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls and tls.wrap_bio(self._incoming, self._outgoing, server_hostname="server")
        while self._tls and not self._shake_hands():
            pass

    def send(self, data: bytes) -> None:
        if self._tls:
            self._tls.write(data)
            data = self._outgoing.read()
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """Return what has arrived next, decrypted; nothing at the end."""
        if self._tls is None:
            return self._receive()
        while True:
            try:
                return self._tls.read(_RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                self._feed()
            except ssl.SSLZeroReturnError:
                # The server's goodbye; what follows it is the end of the stream.
                while self._receive():
                    pass
                return b""

    def end(self) -> None:
        """Say goodbye, and count what still arrives until the server has gone too."""
        if self._tls:
            try:
                self._tls.unwrap()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
        self._socket.shutdown(socket.SHUT_WR)
        while self._receive():
            pass
        self._socket.close()

    def drop(self) -> None:
        """Close at once, whatever is still under way: what a browser does."""
        self._socket.close()

    def reset(self) -> None:
        """Close with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _shake_hands(self) -> bool:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._socket.sendall(self._outgoing.read())
            self._feed()
            return False
        self._socket.sendall(self._outgoing.read())
        return True

    def _feed(self) -> None:
        data = self._receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _receive(self) -> bytes:
        data = self._socket.recv(_RECEIVE_BYTES)
        self.stream_bytes += len(data)
        return data


class Client:
    """One connection and the responses it brought, in order."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._buffer = b""
        self.port = link.port
        self.responses: list[Response] = []

    def get(
        self,
        target: str,
        customer_id: str,
        *,
        method: Literal["GET", "HEAD"] = "GET",
        stop_after_bytes: int | None = None,
    ) -> Response:
        """Ask for ``target``, and read the answer, or its first bytes."""
        self._finish_response()
        response = Response(customer_id)
        self.responses.append(response)
        self._link.send(_request(method, target, customer_id))
        self._read(response, method, stop_after_bytes)
        return response

    def get_at_once(self, *requests: tuple[str, str]) -> None:
        """Ask for targets on behalf of customers, and only then read the answers.

        Which bytes below HTTP belong to which answer is not told: the last one gets all.
        """
        self._finish_response()
        self._link.send(b"".join(_request("GET", *request) for request in requests))
        for _, customer_id in requests:
            self.responses.append(Response(customer_id))
            self._read(self.responses[-1], "GET", None)

    def chat(self, target: str, customer_id: str, messages: int) -> Response:
        """Open a WebSocket, take so many messages, answer each, and close it."""
        self._finish_response()
        response = Response(customer_id)
        self.responses.append(response)
        protocol = ClientProtocol(parse_uri(f"ws://server{target}"))
        request = protocol.connect()
        request.headers["x-customer"] = customer_id
        protocol.send_request(request)
        left = messages
        while True:
            for data in protocol.data_to_send():
                if data:
                    self._link.send(data)
            received = self._link.receive()
            if not received:
                break
            response.http_bytes += len(received)
            protocol.receive_data(received)
            for event in protocol.events_received():
                if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                    response.payload_bytes += len(event.data)
                    protocol.send_text(b"more")
                    left -= 1
            if left == 0:
                protocol.send_close(1000)
                left = -1
        response.is_complete = left == -1
        return response

    def end(self) -> None:
        """Close in order; what arrives after the last response belongs to it."""
        self._link.end()
        self._finish_response()

    def drop(self) -> None:
        self._finish_response()
        self._link.drop()

    def reset(self) -> None:
        self._finish_response()
        self._link.reset()

    def _finish_response(self) -> None:
        total = self._link.stream_bytes
        if self.responses:
            counted = sum(response.stream_bytes for response in self.responses)
            self.responses[-1].stream_bytes += total - counted

    def _read(self, response: Response, method: str, stop_after_bytes: int | None) -> None:
        head = self._until(b"\r\n\r\n")
        response.head_bytes = response.http_bytes = len(head)
        status_line, *fields = head.decode("latin-1").lower().rstrip().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        status = int(status_line.split(" ")[1])
        if method == "HEAD" or status in _BODYLESS_STATUSES:
            response.is_complete = True
        elif "content-length" in headers:
            self._body(response, int(headers["content-length"]), stop_after_bytes)
        elif headers.get("transfer-encoding") == "chunked":
            self._chunks(response, stop_after_bytes)
        else:
            raise ValueError(f"a body without an end: {head!r}")

    def _body(self, response: Response, size: int, stop_after_bytes: int | None) -> None:
        wanted = size if stop_after_bytes is None else min(size, stop_after_bytes)
        got = self._exactly(wanted)
        response.payload_bytes += got
        response.http_bytes += got
        response.is_complete = got == size

    def _chunks(self, response: Response, stop_after_bytes: int | None) -> None:
        while True:
            line = self._until(b"\r\n")
            size = int(line, 16)
            got = self._exactly(size + 2)
            response.http_bytes += len(line) + got
            response.payload_bytes += size
            if size == 0:
                response.is_complete = True
                return
            if stop_after_bytes is not None and response.payload_bytes >= stop_after_bytes:
                return

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        at = self._buffer.index(end) + len(end)
        found, self._buffer = self._buffer[:at], self._buffer[at:]
        return found

    def _exactly(self, size: int) -> int:
        left = size - len(self._buffer)
        if left <= 0:
            self._buffer = self._buffer[size:]
            return size
        while left > 0:
            self._buffer = b""
            self._more()
            left -= len(self._buffer)
        self._buffer = self._buffer[len(self._buffer) + left :]
        return size

    def _more(self) -> None:
        received = self._link.receive()
        if not received:
            raise EOFError("the server closed in the middle of a response")
        self._buffer += received


def _request(method: str, target: str, customer_id: str) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", "host: server", f"x-customer: {customer_id}")
    return "\r\n".join((*lines, "", "")).encode()


def client_context() -> ssl.SSLContext:
    """Return a context that trusts anybody: the certificate is not what is tested."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
