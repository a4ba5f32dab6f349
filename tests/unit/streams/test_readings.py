"""Figures from what was handed over and what the kernel says, where no server shows every case."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close

from streamgauge.streams.kernel.tcp_info import Traffic
from streamgauge.streams.layers import How, Reading
from streamgauge.streams.readings import Handed, Readings, read_sent
from streamgauge.streams.websockets import Around, around_messages

HEAD = 200
MESSAGES = (10, 200, 70_000)
PAYLOAD = sum(MESSAGES)
# Frames of 2, 4 and 10 bytes in 1, 1 and 5 records, a head and a last frame of 4 bytes.
HTTP = HEAD + 4 + PAYLOAD + 2 + 4 + 10
RECORDS = 9


def chat(*, is_modelled: bool = True) -> Handed:
    handed = Handed()
    handed.is_tls = True
    for size in MESSAGES:
        handed.add_message(size)
    handed.add_around(Around(HEAD + 4, 2) if is_modelled else None)
    return handed


def read(handed: Handed, arrived: int, *, is_complete: bool = True) -> Readings:
    return read_sent(
        handed,
        PAYLOAD,
        Traffic(arrived, 0, arrived, 0, 0),
        arrived=arrived,
        is_complete=is_complete,
        final=True,
        certain=True,
    )


@pytest.mark.parametrize("overhead", [21, 22, 29])
@pytest.mark.parametrize("says_goodbye", [False, True])
def test_the_kernel_confirms_what_follows_of_a_websocket_under_tls(
    overhead: int, says_goodbye: bool
) -> None:
    arrived = HTTP + RECORDS * overhead + says_goodbye * (overhead + 2)
    assert read(chat(), arrived).http == Reading(HTTP, How.COMPUTED, final=True)


def test_pings_of_a_websocket_are_estimated() -> None:
    arrived = HTTP + RECORDS * 22 + 3 * (6 + 22)
    assert read(chat(), arrived).http == Reading(HTTP + 3 * 6, How.ESTIMATED, final=True)


@pytest.mark.parametrize(("is_modelled", "is_complete"), [(False, True), (True, False)])
def test_records_of_a_websocket_that_is_not_known_are_estimated(
    is_modelled: bool, is_complete: bool
) -> None:
    handed = chat(is_modelled=is_modelled)
    http = read(handed, HTTP + RECORDS * 22, is_complete=is_complete).http
    assert http.how == How.ESTIMATED
    assert abs(http.bytes - HTTP) <= 2 * 22


RESPONSE = SimpleNamespace(serialize=lambda: bytes(HEAD))


@pytest.mark.parametrize(
    ("closing", "around"),
    [
        (None, (HEAD, 1)),
        (Close(1005, ""), (HEAD + 2, 2)),
        (Close(1000, ""), (HEAD + 4, 2)),
        (Close(1001, "später"), (HEAD + 11, 2)),
    ],
)
def test_a_last_frame_has_a_code_and_a_reason(
    closing: Close | None, around: tuple[int, int]
) -> None:
    conn = SimpleNamespace(extensions=[], close_sent=closing)
    assert around_messages(SimpleNamespace(conn=conn, response=RESPONSE)) == around


def test_what_is_compressed_or_kept_elsewhere_is_not_known() -> None:
    deflating = PerMessageDeflate(*[False] * 2, *[15] * 2)
    conn = SimpleNamespace(extensions=[deflating], close_sent=None)
    assert around_messages(SimpleNamespace(conn=conn, response=RESPONSE)) is None
    assert around_messages(object()) is None
