"""Real media: an HLS ladder and a progressive film, encoded on this machine in a few seconds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.core.errors import MissingExtraError, UnavailableError

RATE_FPS: Final = 25
SEGMENT_S: Final = 2
AUDIO: Final = "audio"
AUDIO_BITS_PER_S: Final = 128_000
MASTER: Final = "master.m3u8"
PLAYLIST: Final = "index.m3u8"
FILM: Final = "film.mp4"
_DONE: Final = "media.json"


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """One rung of the ladder."""

    name: str
    width: int
    height: int
    bits_per_s: int


LADDER: Final = (
    Rendition(name="240p", width=426, height=240, bits_per_s=400_000),
    Rendition(name="480p", width=854, height=480, bits_per_s=1_200_000),
    Rendition(name="720p", width=1280, height=720, bits_per_s=3_000_000),
)


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """What was encoded.

    Attributes:
        folder: Holds one folder per rendition, the master playlist and the film.
        seconds: Playing time.
        sizes: Bytes per rendition, and of the film.
    """

    folder: Path
    seconds: int
    sizes: dict[str, int]


class _Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished encoding leaves beside its files."""

    seconds: int
    sizes: dict[str, int]


def find_ffmpeg() -> Path:
    """Return the ffmpeg program that came with the ``demo`` extra.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415 - part of an extra
    except ImportError:
        raise MissingExtraError("demo", "imageio-ffmpeg") from None
    return Path(get_ffmpeg_exe())


async def encode(folder: Path, *, seconds: int, ffmpeg: Path | None = None) -> Media:
    """Encode ladder and film below ``folder``, or return what an earlier run left there.

    Raises:
        UnavailableError: ffmpeg failed; the message ends with its own words.
    """
    done = folder / _DONE
    if done.exists():
        earlier = msgspec.json.decode(done.read_bytes(), type=_Earlier)
        if earlier.seconds == seconds:
            return Media(folder=folder, seconds=seconds, sizes=earlier.sizes)
    program = ffmpeg or find_ffmpeg()
    for name in (*(rendition.name for rendition in LADDER), AUDIO):
        (folder / name).mkdir(parents=True, exist_ok=True)
    await _run(program, _ladder_arguments(seconds), folder)
    await _run(program, _film_arguments(), folder)
    (folder / MASTER).write_text(master_playlist(), encoding="ascii")
    sizes = _sizes(folder)
    done.write_bytes(msgspec.json.encode(_Earlier(seconds=seconds, sizes=sizes)))
    return Media(folder=folder, seconds=seconds, sizes=sizes)


def master_playlist() -> str:
    """Return the master playlist: three video renditions that share one audio rendition."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:4",
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="tone",DEFAULT=YES,URI="{AUDIO}/{PLAYLIST}"',
    ]
    for rendition in LADDER:
        bandwidth = rendition.bits_per_s + AUDIO_BITS_PER_S
        resolution = f"{rendition.width}x{rendition.height}"
        lines += [
            f'#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={resolution},AUDIO="sound"',
            f"{rendition.name}/{PLAYLIST}",
        ]
    return "\n".join(lines) + "\n"


def _ladder_arguments(seconds: int) -> list[str]:
    scaled = [
        f"[v{rung.name}]scale={rung.width}:{rung.height}:flags=fast_bilinear[{rung.name}]"
        for rung in LADDER
    ]
    split = f"[0:v]split={len(LADDER)}" + "".join(f"[v{rung.name}]" for rung in LADDER)
    picture = f"testsrc2=size=1280x720:rate={RATE_FPS}:duration={seconds}"
    tone = f"sine=frequency=440:beep_factor=2:sample_rate=48000:duration={seconds}"
    arguments = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
    arguments += ["-filter_complex", ";".join([split, *scaled])]
    for rung in LADDER:
        arguments += ["-map", f"[{rung.name}]", *_video_codec(rung), *_hls(rung.name)]
    audio_codec = ["-c:a", "aac", "-b:a", str(AUDIO_BITS_PER_S)]
    return [*arguments, "-map", "1:a", *audio_codec, *_hls(AUDIO)]


def _video_codec(rendition: Rendition) -> list[str]:
    group = str(RATE_FPS * SEGMENT_S)
    return [
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
        *("-b:v", str(rendition.bits_per_s), "-maxrate", str(rendition.bits_per_s)),
        *("-bufsize", str(rendition.bits_per_s)),
        *("-g", group, "-keyint_min", group, "-sc_threshold", "0"),
    ]


def _hls(name: str) -> list[str]:
    return [
        *("-f", "hls", "-hls_time", str(SEGMENT_S), "-hls_playlist_type", "vod"),
        *("-hls_segment_filename", f"{name}/%03d.ts", f"{name}/{PLAYLIST}"),
    ]


def _film_arguments() -> list[str]:
    best = LADDER[-1].name
    return [
        *("-i", f"{best}/{PLAYLIST}", "-i", f"{AUDIO}/{PLAYLIST}"),
        *("-map", "0:v", "-map", "1:a", "-c", "copy", "-movflags", "+faststart", FILM),
    ]


async def _run(ffmpeg: Path, arguments: list[str], folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(ffmpeg),
        *("-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, words = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        reason = words.decode(errors="replace").strip()[-500:]
        raise UnavailableError(f"ffmpeg ended with {process.returncode}: {reason}")


def _sizes(folder: Path) -> dict[str, int]:
    names = (*(rendition.name for rendition in LADDER), AUDIO)
    sizes = {name: sum(part.stat().st_size for part in (folder / name).iterdir()) for name in names}
    return {**sizes, "film": (folder / FILM).stat().st_size}
