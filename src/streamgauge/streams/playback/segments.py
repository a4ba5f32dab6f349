"""Segments as manifests name them, and how long their media is."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from streamgauge.core.errors import InvalidInputError

US_PER_S: Final = 1_000_000
_IDENTIFIER: Final = re.compile(r"\$(RepresentationID|Bandwidth|Number|Time)?(?:%0(\d{1,2})d)?\$")


class Segment(msgspec.Struct, frozen=True):
    """A segment of media.

    Attributes:
        duration_us: Microseconds of media.
        quality: Such as ``720p``; empty: it is not known.
        kind: ``video``, ``audio`` or ``text``; empty: it is not known.
    """

    duration_us: int
    quality: str = ""
    kind: str = ""


class Place(NamedTuple):
    """Where a segment is: a decoded path, and its first byte if it is a range of a file."""

    path: str
    first_byte: int | None = None


class Run(NamedTuple):
    """Segments of equal length, one after the other; in units of the time scale.

    Attributes:
        number: The first one's.
        time: When it begins.
        duration: Of each.
        repeats: How many there are; None: nobody knows yet.
    """

    number: int
    time: int
    duration: int
    repeats: int | None


class Template:
    """Segments whose addresses follow a pattern (ISO/IEC 23009-1, 5.3.9.4.4).

    Args:
        path: The path, with ``$Number$`` and its like, and quoted as in addresses.
        runs: What they are, in order.
        timescale: Units of a second.
        end: Where the last segment ends at the latest; None: nobody knows.
        segment: Quality and kind.
    """

    def __init__(
        self, path: str, runs: Sequence[Run], timescale: int, end: int | None, segment: Segment
    ) -> None:
        self.folder, self._pattern = _pattern(path)
        self._runs = runs
        self._numbers = [run.number for run in runs]
        self._times = [run.time for run in runs]
        self._timescale = timescale
        self._end = end
        self._segment = segment

    def find(self, path: str) -> Segment | None:
        """Return the segment at ``path``, if it is one of these."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        names = found.groupdict()
        if "Number" in names:
            run, index = self._at(self._numbers, int(names["Number"]), step=1)
        elif "Time" in names:
            run, index = self._at(self._times, int(names["Time"]), step=0)
        else:
            return None
        if run is None or (run.repeats is not None and index >= run.repeats):
            return None
        begin = run.time + index * run.duration
        length = run.duration if self._end is None else min(run.duration, self._end - begin)
        if length <= 0:
            return None
        return msgspec.structs.replace(
            self._segment, duration_us=microseconds(length, self._timescale)
        )

    def _at(self, starts: list[int], wanted: int, *, step: int) -> tuple[Run | None, int]:
        place = bisect.bisect_right(starts, wanted) - 1
        if place < 0:
            return None, 0
        run = self._runs[place]
        index, rest = divmod(wanted - starts[place], step or run.duration)
        return (None, 0) if rest else (run, index)


def microseconds(length: int, timescale: int) -> int:
    """Return a length in units of ``timescale``, rounded to the nearest microsecond."""
    return (2 * length * US_PER_S + timescale) // (2 * timescale)


def path_at(base: str, reference: str) -> str:
    """Return the decoded path that ``reference`` means in a document at the path ``base``."""
    return unquote(quoted_path_at(base, reference))


def quoted_path_at(base: str, reference: str) -> str:
    """Return the same, quoted as it stands in addresses."""
    return urlsplit(joined(base, reference)).path


def joined(base: str, reference: str) -> str:
    """Return the address that ``reference`` means in a document at ``base``.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        address = urljoin(base, reference)
        urlsplit(address)
    except ValueError:
        raise InvalidInputError(
            "manifest", reference[:80], "name addresses that are valid"
        ) from None
    return address


def filled(template: str, *, representation_id: str, bandwidth: str) -> str:
    """Return a template with what a whole representation shares filled in."""
    known = {"RepresentationID": representation_id, "Bandwidth": bandwidth}

    def fill(found: re.Match[str]) -> str:
        value = known.get(found[1] or "")
        return found[0] if value is None else value.zfill(int(found[2] or 0))

    return _IDENTIFIER.sub(fill, template)


def _pattern(path: str) -> tuple[str, re.Pattern[str]]:
    """Return the folder that all addresses share, and what they look like."""
    parts, at, seen = list[str](), 0, set[str]()
    literal = ""
    for found in _IDENTIFIER.finditer(path):
        parts.append(re.escape(unquote(path[at : found.start()])))
        name = found[1]
        if not name:
            parts.append(re.escape("$"))
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            literal = literal or path[: found.start()]
            seen.add(name)
            parts.append(f"(?P<{name}>[0-9]{{1,20}})")
        at = found.end()
    parts.append(re.escape(unquote(path[at:])))
    return unquote(literal or path).rpartition("/")[0], re.compile("".join(parts))
