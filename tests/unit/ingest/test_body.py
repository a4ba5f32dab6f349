from __future__ import annotations

import gzip

import pytest

from streamgauge.core.errors import TooLargeError
from streamgauge.server.ingest.body import BodyReader
from streamgauge.server.ingest.errors import MalformedBodyError, UnsupportedEncodingError


def read(encoding: str, data: bytes, *, bytes_max: int = 1000, step: int = 7) -> bytes:
    reader = BodyReader(encoding, bytes_max=bytes_max)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader.body()


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_plain_body_is_kept_as_it_is(encoding: str) -> None:
    assert read(encoding, b"abc" * 100) == b"abc" * 100


def test_a_gzip_body_is_decompressed_in_any_pieces() -> None:
    data = gzip.compress(b"abc" * 100, mtime=0)
    for step in (1, 7, len(data)):
        assert read("gzip", data, step=step) == b"abc" * 100


def test_several_gzip_members_are_one_body() -> None:
    assert read("gzip", gzip.compress(b"ab", mtime=0) + gzip.compress(b"cd")) == b"abcd"


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = gzip.compress(bytes(50_000_000), mtime=0)
    reader = BodyReader("gzip", bytes_max=1000)
    with pytest.raises(TooLargeError, match="the decompressed body is over 1000 bytes"):
        reader.feed(bomb[:900])


def test_a_body_at_the_bound_is_taken_and_one_byte_more_is_not() -> None:
    assert read("", bytes(1000)) == bytes(1000)
    assert read("gzip", gzip.compress(bytes(1000), mtime=0)) == bytes(1000)
    with pytest.raises(TooLargeError):
        read("", bytes(1001))
    with pytest.raises(TooLargeError):
        read("gzip", gzip.compress(bytes(1001), mtime=0))


@pytest.mark.parametrize(
    "data",
    [b"", b"plain", gzip.compress(b"abc", mtime=0)[:-4], gzip.compress(b"abc", mtime=0) + b"tail"],
)
def test_what_is_no_gzip_stream_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedBodyError, match="the body is not gzip"):
        read("gzip", data)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_other_encodings_are_named_and_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedEncodingError, match="it must be gzip, identity or absent"):
        BodyReader(encoding, bytes_max=1000)


def test_a_crowd_of_empty_gzip_members_is_refused() -> None:
    empty = gzip.compress(b"", mtime=0)
    assert read("gzip", empty * 100, bytes_max=10_000) == b""
    with pytest.raises(TooLargeError, match="over 100 gzip members"):
        read("gzip", empty * 101, bytes_max=10_000)
