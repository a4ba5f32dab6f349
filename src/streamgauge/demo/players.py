"""The players: ffmpeg for HLS, an HTTP client for ranges, a WebSocket listener.

Each plays through its own relay and behaves as players do when the platform dies: it asks again
for what it has not got.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from streamgauge.core.errors import UnavailableError
from streamgauge.demo.audience import STOP, Plays, Viewer
from streamgauge.demo.media import PLAYLIST, Media, find_ffmpeg
from streamgauge.demo.relay import LOOPBACK, Relay

if TYPE_CHECKING:
    from streamgauge.demo.processes import Processes

# Larger than what kernels hold, so that a crash in its first part cuts it.
RANGE_BYTES: Final = 6_000_000
RETRY_PAUSE_S: Final = 0.2
RETRIES_MAX: Final = 100
_READ_BYTES_MAX: Final = 64 * 1024
_PARTIAL_CONTENT: Final = 206
# HLS segments are asked for again until the platform is back; a request in between waits in the
# listener's queue, so few retries are enough.
_FFMPEG_PATIENCE: Final = ("-seg_max_retry", "20", "-rw_timeout", "20000000")


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """What all players share."""

    media: Media
    processes: Processes
    logs: Path
    seconds: int


async def play(viewer: Viewer, relay: Relay, show: Show) -> None:
    """Play what ``viewer`` plays, to its end.

    Raises:
        UnavailableError: The player gave up.
    """
    match viewer.plays:
        case Plays.HLS:
            await play_hls(viewer, relay, show)
        case Plays.RANGES:
            await download(viewer, relay, size=show.media.sizes["film"])
        case Plays.HANG_UP:
            await hang_up(viewer, relay, after=show.media.sizes["film"] // 3)
        case Plays.LIVE:
            await listen(viewer, relay, seconds=show.seconds)


async def play_hls(viewer: Viewer, relay: Relay, show: Show) -> None:
    """Have ffmpeg play a media playlist in real time."""
    url = f"http://{LOOPBACK}:{relay.port}/{viewer.token}/hls/{viewer.quality}/{PLAYLIST}"
    child = await show.processes.program(
        *(str(find_ffmpeg()), "-hide_banner", "-loglevel", "warning", "-nostdin", "-re"),
        *(*_FFMPEG_PATIENCE, "-i", url, "-f", "null", "-"),
        log=show.logs / f"player-{viewer.customer_id}.log",
    )
    status = await child.wait()
    if status != 0:
        raise UnavailableError(f"the player of {viewer.customer_id} ended with {status}")


async def download(viewer: Viewer, relay: Relay, *, size: int) -> None:
    """Fetch the film range by range, going on where the connection broke."""
    position = failures = 0
    while position < size:
        wanted = min(RANGE_BYTES, size - position)
        got = await _fetch(viewer, relay, f"bytes={position}-{position + wanted - 1}", wanted)
        position += got
        if got < wanted:
            failures += 1
            if failures > RETRIES_MAX:
                raise UnavailableError(f"{viewer.customer_id} got {position} of {size} bytes")
            await asyncio.sleep(RETRY_PAUSE_S)


async def hang_up(viewer: Viewer, relay: Relay, *, after: int) -> None:
    """Ask for the whole film and leave after the first bytes of it."""
    await _fetch(viewer, relay, "bytes=0-", after)


async def _fetch(viewer: Viewer, relay: Relay, wanted: str, bytes_max: int) -> int:
    """Return how many body bytes arrived, at most ``bytes_max``, before the connection ended."""
    reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
    lines = (f"GET /{viewer.token}/film HTTP/1.1", f"Host: {LOOPBACK}", f"Range: {wanted}")
    writer.write("\r\n".join((*lines, "", "")).encode())
    got = 0
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != _PARTIAL_CONTENT:
            raise UnavailableError(f"the platform answered {status} to {viewer.customer_id}")
        while got < bytes_max:
            data = await reader.read(min(_READ_BYTES_MAX, bytes_max - got))
            if not data:
                break
            got += len(data)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return got


async def listen(viewer: Viewer, relay: Relay, *, seconds: int) -> None:
    """Listen to the live feed for ``seconds``, connecting again when it breaks off."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    url = f"ws://{LOOPBACK}:{relay.port}/{viewer.token}/telemetry"
    for _ in range(RETRIES_MAX):
        with contextlib.suppress(ConnectionClosed, InvalidHandshake, OSError, EOFError):
            # Without compression the payload is what travels; without pings nothing else does.
            async with connect(url, compression=None, ping_interval=None, proxy=None) as feed:
                while loop.time() < until:
                    await feed.recv()
                await feed.send(STOP)
                async for _message in feed:
                    pass
        if loop.time() >= until:
            return
        await asyncio.sleep(RETRY_PAUSE_S)
    raise UnavailableError(f"{viewer.customer_id} could not reach the live feed")
