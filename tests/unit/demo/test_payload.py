from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.demo.payload import FrameCounter, PayloadCounter

REQUEST = b"GET /film.mp4 HTTP/1.1\r\nHost: here\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
UPGRADE = b"GET /live HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def text_frame(size: int) -> bytes:
    if size < 126:
        head = bytes((0x81, size))
    elif size < 1 << 16:
        head = b"\x81\x7e" + size.to_bytes(2)
    else:
        head = b"\x81\x7f" + size.to_bytes(8)
    return head + b"x" * size


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, 10_000)))
def test_the_payload_is_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    counter = PayloadCounter()
    for _ in range(2):
        counter.sent(REQUEST)
    for piece in pieces_of(WHOLE + CHUNKED, cuts):
        counter.received(piece)
    assert [exchange.payload for exchange in counter.exchanges] == [5, 5]
    assert not counter.in_flight


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED])
def test_a_cut_response_is_in_flight_with_exactly_what_arrived(answer: bytes) -> None:
    counter = PayloadCounter()
    counter.sent(REQUEST)
    counter.received(answer[: answer.index(b"hel") + 2])
    assert counter.payload == 2
    assert counter.in_flight
    assert counter.exchanges[0].target == "/film.mp4"
    assert counter.exchanges[0].status == 200
    assert counter.exchanges[0].declared == (5 if answer is WHOLE else None)


def test_a_request_without_any_answer_is_in_flight() -> None:
    counter = PayloadCounter()
    counter.sent(REQUEST)
    assert counter.in_flight
    assert counter.payload == 0


def test_an_idle_connection_has_nothing_in_flight() -> None:
    counter = PayloadCounter()
    counter.sent(REQUEST)
    counter.received(WHOLE)
    assert not counter.in_flight


def test_an_interim_answer_is_followed_by_the_real_one() -> None:
    counter = PayloadCounter()
    counter.sent(REQUEST)
    counter.received(b"HTTP/1.1 103 Early Hints\r\n\r\n" + WHOLE)
    assert [exchange.status for exchange in counter.exchanges] == [200]
    assert counter.payload == 5


@given(st.lists(st.integers(0, 100_000)), st.lists(st.integers(0, 1_000_000)))
def test_websocket_messages_count_without_their_framing(sizes: list[int], cuts: list[int]) -> None:
    counter = PayloadCounter()
    counter.sent(UPGRADE)
    frames = b"".join(text_frame(size) for size in sizes)
    for piece in pieces_of(SWITCH + frames, cuts):
        counter.received(piece)
    assert counter.payload == sum(sizes)
    assert counter.in_flight


def test_control_frames_do_not_count_and_a_close_ends_the_exchange() -> None:
    counter = PayloadCounter()
    counter.sent(UPGRADE)
    counter.received(SWITCH + text_frame(7) + b"\x89\x02hi" + b"\x88\x02\x03\xe8")
    assert counter.payload == 7
    assert not counter.in_flight


def test_what_the_client_says_in_a_websocket_is_not_read_as_http() -> None:
    counter = PayloadCounter()
    counter.sent(UPGRADE)
    counter.received(SWITCH)
    counter.sent(b"\x81\x84\x00\x00\x00\x00stop")
    counter.received(text_frame(3))
    assert counter.payload == 3


def test_half_a_frame_counts_what_arrived() -> None:
    frames = FrameCounter()
    assert frames.feed(text_frame(1_000)[: 4 + 600]) == 600
    assert frames.feed(text_frame(1_000)[4 + 600 :]) == 400
