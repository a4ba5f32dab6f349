"""Playback sessions of HLS and DASH: the segment requests of a player, put together into one."""

from __future__ import annotations

from streamgauge.streams.layers import Measured, Reading
from streamgauge.streams.playback.manifests import Manifests, Segment
from streamgauge.streams.playback.record import EndedBy, PlaybackSession
from streamgauge.streams.playback.sessions import PlaybackSessions

__all__ = [
    "EndedBy",
    "Manifests",
    "Measured",
    "PlaybackSession",
    "PlaybackSessions",
    "Reading",
    "Segment",
]
