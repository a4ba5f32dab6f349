from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streamgauge.testing import MemorySink

EXAMPLES = Path(__file__).parents[3] / "examples"
MEDIA = random.Random(3).randbytes(200_003)
Run = Callable[[str], Any]


def test_a_video_platform_bills_each_viewer(run: Run, received: MemorySink, tmp_path: Path) -> None:
    (tmp_path / "media" / "film-720p.mp4").write_bytes(MEDIA)
    example = run("video_platform.py")
    address = f"http://127.0.0.1:{example.port}/video"
    assert httpx.get(f"{address}/film-720p.mp4?token=token-of-ann").content == MEDIA
    part = {"range": "bytes=100-299"}
    assert (
        len(httpx.get(f"{address}/film-720p.mp4?token=token-of-bob", headers=part).content) == 200
    )
    assert httpx.get(f"{address}/film-720p.mp4?token=stolen").status_code == 401
    assert httpx.get(f"{address}/film-9000p.mp4?token=token-of-bob").status_code == 422
    example.stop()
    assert received.bytes_by_customer() == {"customer_ann": len(MEDIA), "customer_bob": 200}
    assert received.events[0].metadata["title"] == "film"
    assert received.events[0].metadata["quality"] == "720p"


def test_a_music_service_bills_what_was_listened_to(
    run: Run, received: MemorySink, tmp_path: Path
) -> None:
    (tmp_path / "media" / "song.mp3").write_bytes(MEDIA)
    example = run("music_streaming.py")
    address = f"http://127.0.0.1:{example.port}"
    assert httpx.get(f"{address}/ann/song.mp3").content == MEDIA
    assert httpx.get(f"{address}/ann/missing.mp3").status_code == 404
    assert httpx.get(f"{address}/ann/..").status_code == 404
    example.stop()
    assert received.bytes_by_customer() == {"customer_ann": len(MEDIA)}
    assert received.events[0].metadata["format"] == "mp3"


def test_a_live_event_bills_each_viewer_for_its_frames(run: Run, received: MemorySink) -> None:
    example = run("live_event.py")
    address = f"ws://127.0.0.1:{example.port}"
    got = {"ann": 0, "bob": 0}
    with (
        connect(f"{address}/publish", proxy=None) as camera,
        connect(f"{address}/watch/ann", proxy=None) as ann,
    ):
        camera.send(MEDIA[:1_000])
        got["ann"] += len(ann.recv(timeout=10))
        with connect(f"{address}/watch/bob", proxy=None) as bob:
            camera.send(MEDIA[:70_000])
            got["ann"] += len(ann.recv(timeout=10))
            got["bob"] += len(bob.recv(timeout=10))
    example.stop()
    assert got == {"ann": 71_000, "bob": 70_000}
    assert received.bytes_by_customer() == {"customer_ann": 71_000, "customer_bob": 70_000}


def test_a_relay_bills_the_members_who_receive(run: Run, received: MemorySink) -> None:
    example = run("websocket_relay.py")
    address = f"ws://127.0.0.1:{example.port}/rooms"
    with (
        connect(f"{address}/a?token=token-of-ann", proxy=None, compression=None) as ann,
        connect(f"{address}/a?token=token-of-bob", proxy=None, compression=None) as bob,
        connect(f"{address}/b?token=token-of-bob", proxy=None) as elsewhere,
    ):
        for member in (ann, bob, elsewhere):
            member.ping().wait(10)
        for size in (1_000, 70_000):
            ann.send(MEDIA[:size])
            assert bob.recv(timeout=10) == MEDIA[:size]
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"{address}/a?token=stolen", proxy=None)
    example.stop()
    payload = {
        (event.customer_id, event.metadata["room"]): event.metadata["sg_payload_bytes"]
        for event in received.events
        if "sg_payload_bytes" in event.metadata
    }
    assert payload == {("customer_bob", "a"): 71_000}
    # The head of the handshake is HTTP as well; frames of these sizes have 4 and 10 bytes more.
    assert 71_014 + 100 < received.bytes_by_customer()["customer_bob"] < 71_014 + 1_000


def test_real_time_data_bills_the_readings(run: Run, received: MemorySink) -> None:
    example = run("realtime_data.py")
    with (
        socket.create_connection(("127.0.0.1", example.port)) as client,
        client.makefile("rb") as lines,
    ):
        client.sendall(b"ann\n")
        got = sum(len(next(lines)) for _ in range(60))
    # The rest is billed when the connection turns out to be closed.
    events = received.wait_for_events(2)
    example.stop()
    assert {event.customer_id for event in events} == {"customer_ann"}
    assert got <= received.total_bytes() < 2 * got
    assert events[0].metadata["sensor"] == "wind"


def test_an_hls_platform_bills_bytes_and_tells_each_playback(
    run: Run, received: MemorySink, tmp_path: Path
) -> None:
    folder = tmp_path / "media" / "film" / "720p"
    folder.mkdir(parents=True)
    stream = "#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720\n720p/index.m3u8\n"
    (folder.parent / "main.m3u8").write_text(f"#EXTM3U\n{stream}")
    (folder / "index.m3u8").write_text("#EXTM3U\n#EXTINF:6.006,\n0.ts\n#EXTINF:2.5,\n1.ts\n")
    for number in (0, 1):
        (folder / f"{number}.ts").write_bytes(MEDIA)
    example = run("hls_platform.py")
    address = f"http://127.0.0.1:{example.port}/token-of-ann/film"
    with httpx.Client() as player:
        names = ("main.m3u8", "720p/index.m3u8", "720p/0.ts", "720p/1.ts")
        answers = [player.get(f"{address}/{name}").raise_for_status() for name in names]
        assert player.get(f"{address}/720p/2.ts").status_code == 404
        assert player.get(f"{address}/%2e%2e/%2e%2e/spool").status_code == 404
    example.stop()
    assert received.bytes_by_customer() == {
        "customer_ann": sum(len(answer.content) for answer in answers)
    }
    assert "customer_ann film 8.506000 s 720p" in example.output


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_fits_a_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
