from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streamgauge.cli.times import parse_instant
from streamgauge.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T03:04", datetime(2026, 11, 24, 3, 4, tzinfo=UTC)),
        ("2026-11-24T03:04:00Z", datetime(2026, 11, 24, 3, 4, tzinfo=UTC)),
        ("2026-11-24T03:04+05:30", datetime(2026, 11, 23, 21, 34, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_utc(text: str, at: datetime) -> None:
    assert parse_instant(text, field="--from") == at


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13", "2026-11-31", "0001-01-01T00:00+09:00"]
)
def test_what_is_no_instant_is_refused_by_option(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--from is"):
        parse_instant(text, field="--from")
