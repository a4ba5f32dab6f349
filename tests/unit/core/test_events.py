from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.core.errors import InvalidInputError
from streamgauge.core.events import UsageEvent, check_mode, check_text_id, encode_event
from streamgauge.core.metadata import canonical_mapping

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    TEXTS,
    st.datetimes(timezones=st.just(UTC)),
    st.dictionaries(TEXTS, st.integers(1 - 10**38, 10**38 - 1) | st.booleans() | TEXTS),
)
def test_an_encoded_event_is_the_json_that_ingest_takes(
    text: str, at: datetime, pairs: dict[str, object]
) -> None:
    event = UsageEvent(
        event_id=f"id {text}",
        customer_id=text,
        event_name="stream_consumption",
        timestamp=at,
        metadata=canonical_mapping(pairs),
    )
    decoded = json.loads(encode_event(event), parse_float=Decimal)
    assert decoded.pop("metadata") == pairs
    assert datetime.fromisoformat(decoded.pop("timestamp")) == at
    assert decoded == {
        "event_id": f"id {text}",
        "customer_id": text,
        "event_name": "stream_consumption",
    }


@pytest.mark.parametrize("text", ["a", "customer_123", "with space", "ü/🎬", "x" * 255])
def test_a_printable_text_may_be_an_id(text: str) -> None:
    assert check_text_id(text, field="customer_id") == text


@pytest.mark.parametrize(
    "value",
    ["", " ", "   ", "x" * 256, "tab\t", "line\n", "\x00", "\ud800", 5, None, b"id", ["id"]],
)
def test_an_id_that_nobody_could_read_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^customer_id is "):
        check_text_id(value, field="customer_id")


@pytest.mark.parametrize("value", ["", "test", "TEST_MODE", "production", None, 1, ["test_mode"]])
def test_an_unknown_environment_is_refused(value: object) -> None:
    assert check_mode("test_mode") == "test_mode"
    with pytest.raises(InvalidInputError, match=r"^environment is .*test_mode or live_mode"):
        check_mode(value)
