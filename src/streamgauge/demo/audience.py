"""Who watches what, over which line, and what it costs them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from streamgauge.demo.media import AUDIO
from streamgauge.demo.relay import Line

EVENT_NAME: Final = "stream_consumption"
LAYERS_TOLD: Final = ("http", "tls", "wire")
"""Layers that the usage events tell beside the payload, which is billed."""
TELEMETRY: Final = "telemetry"
# What a listener to the live feed says when it has heard enough.
STOP: Final = "stop"
# Where the platform shows the SDK's own account; nobody pays for it.
LEDGER_PATH: Final = "/ledger"


class Plays(StrEnum):
    """What a customer's player does."""

    HLS = "hls"
    RANGES = "ranges"
    HANG_UP = "hang-up"
    LIVE = "live"


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """One customer of the platform.

    Attributes:
        customer_id: Who pays.
        token: What the customer's player shows the platform, in its addresses.
        plays: What the player does.
        quality: Which rendition, and so which meter.
        does: The same for people.
        line: The customer's own line.
    """

    customer_id: str
    token: str
    plays: Plays
    quality: str
    does: str
    line: Line = Line()


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """What one quality costs: the meter's filter, the allowance, the price."""

    quality: str
    free_bytes: int
    usd_per_gb: int


# The narrow lines keep a response on its way nearly always, so that the crash finds some.
AUDIENCE: Final = (
    Viewer(
        customer_id="ana",
        token="t-ana",  # noqa: S106 - a name in an address
        plays=Plays.HLS,
        quality="720p",
        does="watches 720p",
    ),
    Viewer(
        customer_id="ben",
        token="t-ben",  # noqa: S106 - a name in an address
        plays=Plays.HLS,
        quality="480p",
        does="watches 480p",
        line=Line(bytes_per_s=200_000),
    ),
    Viewer(
        customer_id="cleo",
        token="t-cleo",  # noqa: S106 - a name in an address
        plays=Plays.HLS,
        quality="240p",
        does="watches 240p",
    ),
    Viewer(
        customer_id="dan",
        token="t-dan",  # noqa: S106 - a name in an address
        plays=Plays.HLS,
        quality=AUDIO,
        does="hears the sound",
    ),
    Viewer(
        customer_id="eva",
        token="t-eva",  # noqa: S106 - a name in an address
        plays=Plays.RANGES,
        quality="720p",
        does="fetches ranges",
        line=Line(bytes_per_s=500_000),
    ),
    Viewer(
        customer_id="finn",
        token="t-finn",  # noqa: S106 - a name in an address
        plays=Plays.HANG_UP,
        quality="720p",
        does="hangs up",
        line=Line(bytes_per_s=1_000_000),
    ),
    Viewer(
        customer_id="gwen",
        token="t-gwen",  # noqa: S106 - a name in an address
        plays=Plays.LIVE,
        quality=TELEMETRY,
        does="live telemetry",
    ),
)

# Dear enough for half a minute of video to be worth a line on an invoice.
TARIFFS: Final = (
    Tariff(quality="240p", free_bytes=1_000_000, usd_per_gb=40),
    Tariff(quality="480p", free_bytes=1_000_000, usd_per_gb=80),
    Tariff(quality="720p", free_bytes=2_000_000, usd_per_gb=120),
    Tariff(quality=AUDIO, free_bytes=0, usd_per_gb=100),
    Tariff(quality=TELEMETRY, free_bytes=0, usd_per_gb=500),
)


def viewer_of(token: str) -> Viewer | None:
    """Return whose token that is."""
    return next((viewer for viewer in AUDIENCE if viewer.token == token), None)
