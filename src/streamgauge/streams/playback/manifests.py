"""The manifests that an application has served, so that its segments have media seconds."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.limits import (
    MANIFEST_CHARS_MAX,
    MANIFEST_SEGMENTS_MAX,
    MANIFEST_TEMPLATES_MAX,
)
from streamgauge.streams.layers import Measured
from streamgauge.streams.playback import dash, hls
from streamgauge.streams.playback.segments import Place, Segment, Template
from streamgauge.streams.view import RequestView

__all__ = ["Manifests", "Segment"]

K = TypeVar("K")
V = TypeVar("V")

_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
_OK, _PARTIAL = 200, 206
_UNKNOWN: Final = Segment(0)


class Manifests:
    """Knows the segments of HLS playlists and DASH manifests; ``media=`` of ``PlaybackSessions``.

    Give it what the application serves, when it serves it: it fetches nothing. Segments are found
    by their path alone, since a content network may have another host. What was given longest ago
    is forgotten when there is too much.

    Args:
        path: Says where a segment is, if it is not the request's path; leave tokens out of it.
    """

    def __init__(self, path: Callable[[RequestView], str] | None = None) -> None:
        self._path = path or (lambda request: request.path)
        self._lock = threading.Lock()
        self._segments: OrderedDict[Place, Segment] = OrderedDict()
        self._renditions: OrderedDict[str, Segment] = OrderedDict()
        self._templates: OrderedDict[str, list[Template]] = OrderedDict()

    def add_hls(self, path: str, text: str, *, quality: str | None = None) -> None:
        """Take a playlist; a multivariant one says the qualities of those that come after it.

        Args:
            path: Where it is served, decoded; its references are relative to it.
            text: The playlist.
            quality: Of its segments, if no multivariant playlist says it.

        Raises:
            InvalidInputError: It is no playlist, or too long; nothing changed.
        """
        _check_size("playlist", text)
        renditions = list(hls.renditions(path, text))
        with self._lock:
            rendition = self._renditions.get(path, _UNKNOWN)
        if quality is not None:
            rendition = Segment(0, quality, rendition.kind)
        segments = list(hls.segments(path, text, rendition))
        with self._lock:
            _remember(self._renditions, renditions, MANIFEST_TEMPLATES_MAX)
            _remember(self._segments, segments, MANIFEST_SEGMENTS_MAX)

    def add_dash(self, path: str, text: str | bytes) -> None:
        """Take a manifest.

        Args:
            path: Where it is served, decoded; its references are relative to it.
            text: The manifest.

        Raises:
            InvalidInputError: It is no manifest, or too long; nothing changed.
        """
        _check_size("manifest", text)
        found = dash.parse(path, text)
        folders: dict[str, list[Template]] = {}
        for template in found.templates:
            folders.setdefault(template.folder, []).append(template)
        with self._lock:
            _remember(self._segments, list(found.segments.items()), MANIFEST_SEGMENTS_MAX)
            _remember(self._templates, list(folders.items()), MANIFEST_TEMPLATES_MAX)

    def find(self, path: str, first_byte: int | None = None) -> Segment | None:
        """Return the segment at a decoded path, or at a range of the file there."""
        with self._lock:
            segment = self._segments.get(Place(path, first_byte))
            if segment is not None or first_byte is not None:
                return segment
            folder, templates = path, list[Template]()
            while "/" in folder:
                folder = folder.rpartition("/")[0]
                templates += self._templates.get(folder, ())
        return next(filter(None, (template.find(path) for template in templates)), None)

    def __call__(self, measured: Measured) -> Segment | None:
        """Return the segment that a response was; None: it was none, or not a whole one."""
        request, status = measured.request, measured.status
        if request is None or status not in {_OK, _PARTIAL}:
            return None
        path = self._path(request)
        if status == _OK:
            return self.find(path)
        asked = _RANGE.fullmatch(request.headers.get("range") or "")
        if asked is None:
            return None
        segment = self.find(path, int(asked[1]))
        # Some players ask for a whole file as all of its bytes.
        return self.find(path) if segment is None and asked[0] == "bytes=0-" else segment


def _check_size(field: str, text: str | bytes) -> None:
    if len(text) > MANIFEST_CHARS_MAX:
        raise InvalidInputError(field, len(text), f"have at most {MANIFEST_CHARS_MAX} characters")


def _remember(known: OrderedDict[K, V], more: list[tuple[K, V]], count_max: int) -> None:
    for key, value in more:
        known[key] = value
        known.move_to_end(key)
    while len(known) > count_max:
        known.popitem(last=False)
