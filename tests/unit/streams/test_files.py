"""File-like objects, counted as they are read or written."""

from __future__ import annotations

import gc
import gzip
import io
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgauge import Ingestion, measure_file
from streamgauge.core.errors import InvalidInputError
from streamgauge.testing import MemorySink

DATA = b"".join(b"line %d\n" % number for number in range(1_000))


@pytest.fixture
def billed(
    streamgauge_ingestion: Ingestion, streamgauge_sink: MemorySink
) -> Callable[[], dict[str, int]]:
    def ask() -> dict[str, int]:
        assert streamgauge_ingestion.flush()
        return streamgauge_sink.bytes_by_customer()

    return ask


WAYS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda file: file.read(),
    "parts": lambda file: b"".join(iter(lambda: file.read(100), b"")),
    "read1": lambda file: b"".join(iter(lambda: file.read1(100), b"")),
    "lines": b"".join,
    "readline": lambda file: b"".join(iter(file.readline, b"")),
    "readlines": lambda file: b"".join(file.readlines()),
    "readinto": lambda file: bytes(_into(file.readinto)),
    "readinto1": lambda file: bytes(_into(file.readinto1)),
}


def _into(read: Callable[[bytearray], int]) -> bytearray:
    whole, part = bytearray(), bytearray(1_000)
    while size := read(part):
        whole += part[:size]
    return whole


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_read_counts_once(
    way: str, tmp_path: Path, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    with measure_file(
        (tmp_path / "data").open("rb"), streamgauge_ingestion, customer_id="ann"
    ) as file:
        assert WAYS[way](file) == DATA
    assert file.closed
    assert billed() == {"ann": len(DATA)}


def test_what_is_written_counts_in_bytes(
    streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    target = io.BytesIO()
    file = measure_file(target, streamgauge_ingestion, customer_id="ann")
    file.write(b"12345")
    file.writelines([b"6", b"78"])
    file.write(memoryview(bytearray(8)).cast("I"))
    assert target.getvalue() == b"12345678" + bytes(8)
    file.close()
    assert billed() == {"ann": 16}


def test_a_raw_file_counts_what_it_took(
    streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    class Slow(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            return 3

    raw: Any = Slow()
    assert measure_file(raw, streamgauge_ingestion, customer_id="ann").write(b"12345") == 3
    assert billed() == {"ann": 3}


def test_who_would_send_it_without_reading_reads_instead(
    tmp_path: Path, streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    one, other = socket.socketpair()
    with (
        one,
        other,
        (tmp_path / "data").open("rb") as source,
        measure_file(source, streamgauge_ingestion, customer_id="ann") as file,
    ):
        assert one.sendfile(file) == len(DATA)  # type: ignore[arg-type]  # As good as a file.
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
    assert billed() == {"ann": len(DATA)}


def test_it_goes_where_files_go(
    streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    target: Any = measure_file(io.BytesIO(), streamgauge_ingestion, customer_id="ann")
    shutil.copyfileobj(io.BytesIO(DATA), target)
    with gzip.GzipFile(fileobj=target, mode="wb") as packed:
        packed.write(DATA)
    assert billed() == {"ann": target.tell()}


def test_a_session_ends_with_its_file(
    streamgauge_ingestion: Ingestion, billed: Callable[[], Any]
) -> None:
    session = streamgauge_ingestion.session(customer_id="ann")
    with measure_file(io.BytesIO(b"12345"), session) as file:
        file.read()
    assert not session.is_counting
    dropped = measure_file(io.BytesIO(b"678"), streamgauge_ingestion, customer_id="bob")
    dropped.read()
    del dropped
    gc.collect()
    assert billed() == {"ann": 5, "bob": 3}


def test_what_is_no_binary_file_is_refused(streamgauge_ingestion: Ingestion) -> None:
    text: Any = io.StringIO("text")
    with pytest.raises(InvalidInputError, match="binary"):
        measure_file(text, streamgauge_ingestion, customer_id="ann")
    session = streamgauge_ingestion.session(customer_id="ann")
    both: Any = {"customer_id": "ann"}
    with pytest.raises(InvalidInputError, match="customer_id"):
        measure_file(io.BytesIO(), session, **both)
