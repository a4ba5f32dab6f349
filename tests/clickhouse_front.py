"""A front for tests: the embedded engine behind ClickHouse's HTTP interface.

No ClickHouse server can be installed from the registries, so this stands in for one: the same
engine and SQL, asked over real HTTP by the real client. It knows what that client sends: a query
in the body or in ``query``, bound values in ``param_*``, ``database``, settings as parameters, a
user's name and password, and gzip. It is not a server: no users but one, no TLS, no replicas.

    python -m tests.clickhouse_front DIRECTORY [PORT]

prints its port. When its stdin ends, so does it, and takes the directory with it.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

USER, PASSWORD = "tests", "pass/word"
_AUTHORIZATION = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
# What the HTTP interface takes for itself.
_NOT_SETTINGS = {"query", "database", "query_id", "session_id", "client_protocol_version"}
_NOT_SETTINGS |= {"wait_end_of_query", "buffer_size", "compress", "decompress", "default_format"}
_INSERT = re.compile(
    rb"\s*(INSERT\s+INTO\s+\S+(?:\s*\([^)]*\))?)\s+FORMAT\s+(\w+)\s", re.IGNORECASE
)
_CODE = re.compile(r"Code: (\d+)")
_ACCESS_DENIED = 516
_ROOM_BYTES = 2**30


class Front:
    """The engine of one directory; a request has a connection of its own, as with a server."""

    def __init__(self, directory: Path) -> None:
        import chdb  # noqa: PLC0415 - Only the process of the front opens an engine.

        self._path = str(directory)
        self._connect: Any = chdb.connect
        self._held = self._connect(self._path)
        # The engine keeps files open for each thread that ever asked it.
        self._threads = ThreadPoolExecutor(4)

    def answer(self, parameters: dict[str, str], body: bytes) -> bytes:
        return self._threads.submit(self._answer, parameters, body).result()

    def _answer(self, parameters: dict[str, str], body: bytes) -> bytes:
        statement = parameters.get("query", "").encode()
        whole = statement + b"\n" + body if statement and body else statement or body
        bound = {
            name.removeprefix("param_"): text
            for name, text in parameters.items()
            if name.startswith("param_")
        }
        connection = self._connect(self._path)
        try:
            if database := parameters.get("database"):
                connection.query(f"USE `{database}`", "TabSeparated")
            for name, text in parameters.items():
                if name not in _NOT_SETTINGS and not name.startswith("param_"):
                    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
                    connection.query(f"SET {name} = '{quoted}'", "TabSeparated")
            if (insert := _INSERT.match(whole)) is not None:
                return self._insert(connection, insert, whole[insert.end() :])
            return bytes(connection.query(whole, "TabSeparated", params=bound).bytes())
        finally:
            connection.close()

    @staticmethod
    def _insert(connection: Any, insert: re.Match[bytes], rows: bytes) -> bytes:
        # Rows in the text of a statement would be parsed as SQL first.
        with tempfile.NamedTemporaryFile(dir=_place()) as file:
            file.write(rows)
            file.flush()
            into, format = insert[1].decode(), insert[2].decode()
            connection.query(f"{into} FROM INFILE '{file.name}' FORMAT {format}", "TabSeparated")
        return b""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._send(200, b"Ok.\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.headers.get("authorization") != _AUTHORIZATION:
            text = f"Code: {_ACCESS_DENIED}. DB::Exception: Authentication failed"
            self._refuse(403, text)
            return
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            self._send(200, self.server.front.answer(parameters, body))
        except Exception as error:  # noqa: BLE001 - the engine's errors have no type of their own
            self._refuse(500, str(error))

    def _refuse(self, status: int, text: str) -> None:
        code = _CODE.search(text)
        text = text[code.start() :] if code else text
        self._send(status, text.encode(), {"x-clickhouse-exception-code": code[1] if code else "1"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if body and "gzip" in self.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 1)
            self.send_header("content-encoding", "gzip")
        for name, text in {"x-clickhouse-timezone": "UTC", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, front: Front, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.front = front

    def handle_error(self, *_given: object) -> None:
        """Say nothing of clients that hung up; what else fails here fails the test as well."""


class FrontProcess:
    """The front in a process of its own; starting it again keeps directory and port."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="streamgauge-front-", dir=_place())
        self._port = "0"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.clickhouse_front", self._directory, self._port]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdout is not None
        self._port = self._process.stdout.readline().strip()
        assert self._port, "the front did not start"

    def url(self, database: str) -> str:
        password = PASSWORD.replace("/", "%2F")
        return f"clickhouse://{USER}:{password}@127.0.0.1:{self._port}/{database}"

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Let it die as a server does whose machine dies; its directory stays."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def _place() -> str | None:
    """Return memory where there is enough: the suites sync some thousand small files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    return str(memory) if roomy else None


def main() -> None:
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    server = _Server(Front(directory), port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)  # noqa: T201 - Whoever started it reads its port.
    sys.stdin.read()
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
