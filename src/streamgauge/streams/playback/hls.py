"""HLS playlists (RFC 8216 and its second edition): what each segment's media lasts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from streamgauge.core.errors import InvalidInputError
from streamgauge.streams.playback.segments import US_PER_S, Place, Segment, path_at

_DURATION: Final = re.compile(r"\d{1,9}(?:\.\d{1,20})?")
_RANGE: Final = re.compile(r"(\d{1,18})(?:@(\d{1,18}))?")
_ATTRIBUTE: Final = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_HEIGHT: Final = re.compile(r"\d{1,5}x(\d{1,5})")


def renditions(path: str, text: str) -> Iterator[tuple[str, Segment]]:
    """Yield the path of each media playlist in a multivariant playlist, and what it is."""
    variant: dict[str, str] | None = None
    for line in _lines(text):
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-STREAM-INF":
            variant = _attributes(value)
        elif tag in {"#EXT-X-MEDIA", "#EXT-X-I-FRAME-STREAM-INF"}:
            found = _attributes(value)
            if "URI" in found:
                kind = found.get("TYPE", "VIDEO").lower().replace("subtitles", "text")
                yield path_at(path, found["URI"]), Segment(0, _quality(found), kind)
        elif not line.startswith("#") and variant is not None:
            yield path_at(path, line), Segment(0, _quality(variant), "video")
            variant = None


def segments(path: str, text: str, rendition: Segment) -> Iterator[tuple[Place, Segment]]:
    """Yield the segments and parts of a media playlist.

    Raises:
        InvalidInputError: It is no playlist.
    """
    duration_us: int | None = None
    first: int | None = None
    # Where a range begins that does not say so: where the last one ended.
    next_byte = 0
    for line in _lines(text):
        tag, _, value = line.partition(":")
        if tag == "#EXTINF":
            duration_us = _microseconds(value.partition(",")[0].strip(), line)
        elif tag == "#EXT-X-BYTERANGE":
            first, next_byte = _range(value, next_byte, line)
        elif tag == "#EXT-X-PART":
            found = _attributes(value)
            part = Segment(
                _microseconds(found.get("DURATION", ""), line), rendition.quality, rendition.kind
            )
            part_first = None
            if "BYTERANGE" in found:
                part_first, next_byte = _range(found["BYTERANGE"], next_byte, line)
            yield Place(path_at(path, found.get("URI", "")), part_first), part
        elif not line.startswith("#") and duration_us is not None:
            segment = Segment(duration_us, rendition.quality, rendition.kind)
            yield Place(path_at(path, line), first), segment
            next_byte = 0 if first is None else next_byte
            duration_us = first = None


def _lines(text: str) -> Iterator[str]:
    lines = (line.strip() for line in text.lstrip("\ufeff").splitlines())
    if next(lines, "") != "#EXTM3U":
        raise InvalidInputError("playlist", text[:40], "begin with the line #EXTM3U")
    return filter(None, lines)


def _attributes(value: str) -> dict[str, str]:
    return {name: text.strip('"') for name, text in _ATTRIBUTE.findall(value)}


def _quality(attributes: dict[str, str]) -> str:
    height = _HEIGHT.fullmatch(attributes.get("RESOLUTION", ""))
    if height:
        return f"{height[1]}p"
    bandwidth = attributes.get("BANDWIDTH", "")
    if bandwidth.isascii() and bandwidth.isdigit():
        return f"{int(bandwidth[:15]) // 1_000}k"
    return attributes.get("NAME", "")


def _microseconds(text: str, line: str) -> int:
    if not _DURATION.fullmatch(text):
        raise InvalidInputError("playlist", line[:80], "give durations as seconds, such as 6.006")
    return int((Decimal(text) * US_PER_S).to_integral_value())


def _range(text: str, next_byte: int, line: str) -> tuple[int, int]:
    """Return where a range begins and ends."""
    found = _RANGE.match(text)
    if found is None:
        raise InvalidInputError("playlist", line[:80], "give ranges as length or length@start")
    first = next_byte if found[2] is None else int(found[2])
    return first, first + int(found[1])
