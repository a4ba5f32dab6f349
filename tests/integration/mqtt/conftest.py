from __future__ import annotations

import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest


class Broker:
    """A real Mosquitto on the loopback, and its log."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        passwords = folder / "passwords"
        passwords.touch(mode=0o600)
        for user in ("ann", "bob"):
            subprocess.run(["mosquitto_passwd", "-b", passwords, user, "secret"], check=True)
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\npassword_file {passwords}\nallow_anonymous true\n"
            "log_dest stderr\nlog_type all\nuser root\nmax_queued_messages 10000\n"
        )
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program is not None, "the mosquitto marker skips where it is missing"
        self._process = subprocess.Popen(
            [program, "-c", folder / "mosquitto.conf"], stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self.listeners: list[Callable[[str], None]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        until(lambda: any("running" in line for line in self.lines))

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)
            for listener in self.listeners:
                listener(line)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stderr is not None
        self._process.stderr.close()


class Device:
    """A paho client that is connected, and what it has received."""

    def __init__(self, broker: Broker, name: str, user: str | None = None) -> None:
        self.received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
        if user is not None:
            self.client.username_pw_set(user, "secret")
        self.client.on_message = lambda _client, _data, message: self.received.put(message)
        self.broker = broker

    def connect(self) -> None:
        self.client.connect("127.0.0.1", self.broker.port)
        self.client.loop_start()
        until(self.client.is_connected)

    def subscribe(self, topic: str, qos: int = 1) -> None:
        done = threading.Event()
        self.client.on_subscribe = lambda *_: done.set()
        self.client.subscribe(topic, qos)
        assert done.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path, low_descriptors: None) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.close()


@pytest.fixture
def device(broker: Broker) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(name: str, user: str | None = None, *, connected: bool = True) -> Device:
        made.append(Device(broker, name, user))
        if connected:
            made[-1].connect()
        return made[-1]

    yield make
    for one in made:
        one.close()
