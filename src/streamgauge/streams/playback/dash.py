"""DASH manifests (ISO/IEC 23009-1): what each segment's media lasts.

The parser has no entities, no document type and no network; what is not understood has no duration
rather than a wrong one. Not read: ``SegmentBase`` (its index is in the media) and ``xlink``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from streamgauge.core.errors import InvalidInputError
from streamgauge.streams.playback.segments import (
    Place,
    Run,
    Segment,
    Template,
    filled,
    joined,
    microseconds,
    path_at,
    quoted_path_at,
)

_LENGTH: Final = re.compile(
    r"P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?"
)
_UNITS_S: Final = (86_400, 3_600, 60, 1)


class Found(NamedTuple):
    """What a manifest names."""

    segments: dict[Place, Segment]
    templates: list[Template]


def parse(path: str, text: str | bytes) -> Found:
    """Return the segments of a manifest at ``path``.

    Raises:
        InvalidInputError: It is no manifest, or carries a document type.
    """
    root = _tree(text)
    if root.tag != "MPD":
        raise InvalidInputError("manifest", root.tag[:40], "have an MPD as its root")
    found = Found({}, [])
    whole_s = _length_s(root.get("mediaPresentationDuration"))
    base = _base(path, root)
    for period in root.iterfind("Period"):
        period_s = _length_s(period.get("duration")) or whole_s
        period_base = _base(base, period)
        for group in period.iterfind("AdaptationSet"):
            group_base = _base(period_base, group)
            for one in group.iterfind("Representation"):
                levels = (period, group, one)
                _representation(found, _base(group_base, one), levels, period_s)
    return found


def _representation(
    found: Found, base: str, levels: tuple[Element, ...], period_s: Decimal | None
) -> None:
    segment = _segment(levels)
    template, timeline = _inherited(levels, "SegmentTemplate")
    media = template.get("media")
    if media is not None:
        one = levels[-1]
        media = filled(
            media, representation_id=one.get("id", ""), bandwidth=one.get("bandwidth", "")
        )
        timescale = _whole(template, "timescale", 1) or 1
        end = (
            int(period_s * timescale) + _whole(template, "presentationTimeOffset", 0)
            if (period_s)
            else None
        )
        runs = list(_runs(template, timeline, end))
        if runs:
            path = quoted_path_at(base, media)
            found.templates.append(Template(path, runs, timescale, end, segment))
    attributes, timeline = _inherited(levels, "SegmentList")
    urls = [url for level in levels for url in level.iterfind("SegmentList/SegmentURL")]
    if urls:
        timescale = _whole(attributes, "timescale", 1) or 1
        lengths = _lengths(_runs(attributes, timeline, None), len(urls))
        for url, length in zip(urls, lengths, strict=False):
            first = url.get("mediaRange", "").partition("-")[0]
            place = Place(
                path_at(base, url.get("media", "")), int(first) if first.isdecimal() else None
            )
            found.segments[place] = Segment(
                microseconds(length, timescale), segment.quality, segment.kind
            )


def _runs(attributes: dict[str, str], timeline: Element | None, end: int | None) -> Iterator[Run]:
    number = _whole(attributes, "startNumber", 1)
    if timeline is None:
        duration = _whole(attributes, "duration", 0)
        if duration:
            yield Run(number, _whole(attributes, "presentationTimeOffset", 0), duration, None)
        return
    time = 0
    steps = [dict(step.items()) for step in timeline.iterfind("S")]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        time, duration = _whole(step, "t", time), _whole(step, "d", 0)
        if not duration:
            return
        count: int | None = _whole(step, "r", 0) + 1
        if step.get("r", "").startswith("-"):
            until = end if following is None else _whole(following, "t", time)
            count = None if until is None else -(-(until - time) // duration)
        yield Run(number, time, duration, count)
        if count is None:
            return
        number += count
        time += count * duration


def _lengths(runs: Iterator[Run], count: int) -> Iterator[int]:
    for run in runs:
        for _ in range(count if run.repeats is None else min(run.repeats, count)):
            yield run.duration


def _inherited(levels: tuple[Element, ...], name: str) -> tuple[dict[str, str], Element | None]:
    """Return what the levels say together, the innermost last, and the innermost time line."""
    attributes: dict[str, str] = {}
    timeline: Element | None = None
    for level in levels:
        element = level.find(name)
        if element is not None:
            attributes.update(element.items())
            own = element.find("SegmentTimeline")
            timeline = timeline if own is None else own
    return attributes, timeline


def _segment(levels: tuple[Element, ...]) -> Segment:
    said = {key: text for level in levels for key, text in level.items()}
    kind = said.get("contentType") or said.get("mimeType", "").partition("/")[0]
    kind = {"application": "text"}.get(kind, kind)
    height = said.get("height", "")
    is_video = kind == "video" and height.isdecimal()
    return Segment(0, f"{height}p" if is_video else levels[-1].get("id", ""), kind)


def _base(base: str, element: Element) -> str:
    return joined(base, (element.findtext("BaseURL") or "").strip())


def _whole(attributes: dict[str, str], name: str, default: int) -> int:
    text = attributes.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else default  # noqa: PLR2004


def _length_s(text: str | None) -> Decimal | None:
    found = _LENGTH.fullmatch(text or "")
    if found is None:
        return None
    parts = zip(found.groups(), _UNITS_S, strict=True)
    return sum((Decimal(part) * unit for part, unit in parts if part), Decimal(0)) or None


def _tree(text: str | bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")

    def refuse(*_: object) -> None:
        raise InvalidInputError("manifest", "a document type", "not be there: MPDs have none")

    def local(name: str) -> str:
        return name.rpartition("}")[2]

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, items: builder.start(
        local(name), {local(key): value for key, value in items.items()}
    )
    parser.EndElementHandler = lambda name: builder.end(local(name))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(text, True)  # noqa: FBT003 - the standard library's own
    except expat.ExpatError as error:
        raise InvalidInputError("manifest", str(error), "be well-formed XML") from None
    root: Element = builder.close()
    return root
