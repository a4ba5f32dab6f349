"""The law of conservation: every counted byte is somewhere, once."""

from __future__ import annotations

from streamgauge.sdk.stats import Stats


def assert_conserved(stats: Stats) -> None:
    """Assert that open, spooled, acknowledged and refused bytes are what was counted.

    Raises:
        AssertionError: They are not; the message has the figures.
    """
    places = {
        "open": stats.open_bytes,
        "spooled": stats.spooled_bytes,
        "acknowledged": stats.acknowledged_bytes,
        "refused": stats.refused_bytes,
    }
    _assert_sum("counted", stats.counted_bytes, places)
    adopted = stats.adopted
    places = {
        "spooled": adopted.spooled_bytes,
        "acknowledged": adopted.acknowledged_bytes,
        "refused": adopted.refused_bytes,
    }
    _assert_sum("adopted", adopted.bytes, places)


def _assert_sum(what: str, whole: int, places: dict[str, int]) -> None:
    accounted = sum(places.values())
    if whole != accounted or min(places.values()) < 0:
        parts = " + ".join(f"{count} {place}" for place, count in places.items())
        raise AssertionError(f"{whole} bytes {what}, but {parts} = {accounted}")
