from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from wsgiref.simple_server import WSGIRequestHandler, make_server

import flask
import pytest

from streamgauge import Ingestion
from streamgauge.nginx import LOG_FORMAT, NginxLog, bill_header
from streamgauge.testing import MemorySink
from tests.wire.certificate import write_certificate

MIB = 1024 * 1024
FILM_BYTES = 100 * MIB
CLIP = b"clip" * 25_000

CONFIGURATION = """
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 100; }}
http {{
    {log_format}
    access_log access.log streamgauge;
    sendfile on;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    {servers}
}}
"""
SERVERS = """
    server {{
        listen 127.0.0.1:{port};
        listen [::1]:{port};
        listen 127.0.0.1:{tls_port} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location / {{
            proxy_pass http://127.0.0.1:{application};
            proxy_hide_header X-Streamgauge-Bill;
        }}
        location /protected/ {{ internal; alias {media}/; }}
    }}
"""


def application() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.get("/<customer>/<name>")
    def media(customer: str, name: str) -> flask.Response:
        response = flask.Response()
        if customer != "nobody":
            key, value = bill_header(customer_id=customer, metadata={"title": f"„{name}“"})
            response.headers[key] = value
        response.headers["X-Accel-Redirect"] = f"/protected/{name}"
        return response

    return app


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Nginx:
    """A real nginx before a real application."""

    def __init__(self, home: Path, application_port: int, servers: str = SERVERS) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self.log = home / "access.log"
        media = home / "media"
        media.mkdir()
        with (media / "film.mp4").open("wb") as film:
            film.truncate(FILM_BYTES)
        (media / "clip.ts").write_bytes(CLIP)
        certificate = write_certificate(home / "server.pem")
        served = servers.format(
            port=self.port,
            tls_port=self.tls_port,
            application=application_port,
            certificate=certificate,
            media=media,
        )
        user = "user root;" if os.geteuid() == 0 else ""
        whole = CONFIGURATION.format(user=user, log_format=LOG_FORMAT, servers=served)
        (home / "nginx.conf").write_text(whole)
        command = ["nginx", "-p", f"{home}/", "-c", "nginx.conf"]
        path = f"{os.environ['PATH']}:/usr/sbin"
        self._process = subprocess.Popen(command, env={**os.environ, "PATH": path})
        deadline_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline_s
                time.sleep(0.02)

    def reopen_logs(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    with make_server("127.0.0.1", 0, application(), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        home = tmp_path / "nginx"
        home.mkdir()
        running = Nginx(home, server.server_port)
        try:
            yield running
        finally:
            running.stop()
            server.shutdown()
            thread.join(10)


class Reading:
    """A reader of nginx's log, and what it billed."""

    def __init__(self, ingestion: Ingestion, sink: MemorySink, reader: NginxLog) -> None:
        self.reader = reader
        self._ingestion = ingestion
        self._sink = sink

    def billed(self, responses: int) -> dict[str, int]:
        """Return the bytes by customer once so many responses are known."""
        deadline_s = time.monotonic() + 20
        while self.reader.stats().responses < responses:
            assert time.monotonic() < deadline_s, self.reader.stats()
            self.reader.poll()
            time.sleep(0.02)
        assert self._ingestion.flush()
        return self._sink.bytes_by_customer()


Read = Callable[..., Reading]


@pytest.fixture
def read(
    nginx: Nginx,
    streamgauge_ingestion: Ingestion,
    streamgauge_sink: MemorySink,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Read]:
    monkeypatch.setattr("streamgauge.streams.kernel.watch._LOOK_S", 0.02)
    opened: list[NginxLog] = []

    def start(layer: str = "payload") -> Reading:
        for before in opened:
            before.close()
        opened.clear()
        reader = NginxLog(
            streamgauge_ingestion,
            nginx.log,
            state_dir=tmp_path / "state",
            ports=(nginx.port, nginx.tls_port),
            layer=layer,
            log_delay_s=0.2,
        )
        opened.append(reader)
        return Reading(streamgauge_ingestion, streamgauge_sink, reader)

    yield start
    for reader in opened:
        reader.close()
