from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamgauge.core.errors import InvalidInputError
from streamgauge.server.ingest.decode import Scope, decode
from streamgauge.server.ingest.errors import BatchRefusedError, MalformedBodyError
from streamgauge.server.ingest.rules import WireEvent

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
SCOPE = Scope("bus_1", "test_mode")


def event(**changes: Any) -> dict[str, Any]:
    whole = {
        "event_id": "e1",
        "customer_id": "cus_1",
        "event_name": "stream",
        "timestamp": "2026-03-01T11:00:00Z",
        "metadata": {"bytes": 10},
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def body(*events: object) -> bytes:
    return json.dumps({"events": events}).encode()


def events_of(raw: bytes) -> list[WireEvent]:
    return decode(raw, SCOPE, NOW).events


def test_a_batch_becomes_rows_of_canonical_texts() -> None:
    raw = (
        b'{"events":[{"event_id":"e1","customer_id":"c","event_name":"n","timestamp":'
        b'"2026-03-01T13:30:00.25+02:30","metadata":{"a":18446744073709551616,"b":1.50e1,"c":-0.0,'
        b'"d":"4\\u0035","e":true,"f":0.123456789012}}]}'
    )
    head, (row,), ids, ahead = decode(raw, SCOPE, NOW)
    assert (head.business_id, head.mode, head.received_at) == (*SCOPE, NOW)
    assert ids == ["e1"]
    assert (row.event_id, row.customer_id, row.event_name) == ("e1", "c", "n")
    assert row.timestamp == datetime(2026, 3, 1, 11, 0, 0, 250_000, tzinfo=UTC)
    assert row.timestamp is not None
    assert row.timestamp.utcoffset() == timedelta(0)
    assert row.metadata == {
        "a": "18446744073709551616",
        "b": "15",
        "c": "0",
        "d": '"45"',
        "e": "true",
        "f": "0.123456789012",
    }
    assert ahead == []


def test_a_value_that_is_not_canonical_changes_none_of_its_neighbours() -> None:
    mixed = [{"a": 1, "b": "x"}, {}, {"a": 1.50, "c": "\n"}, {"b": True}]
    found = events_of(body(*(event(event_id=f"e{n}", metadata=m) for n, m in enumerate(mixed))))
    assert [each.metadata for each in found] == [
        {"a": "1", "b": '"x"'},
        {},
        {"a": "1.5", "c": '"\\n"'},
        {"b": "true"},
    ]


@pytest.mark.parametrize("absent", [..., None])
def test_an_absent_or_null_timestamp_is_the_servers_time(absent: object) -> None:
    (row,) = events_of(body(event(timestamp=absent)))
    assert row.timestamp == NOW


@pytest.mark.parametrize("absent", [..., None, {}])
def test_absent_null_and_empty_metadata_are_the_same(absent: object) -> None:
    (row,) = events_of(body(event(metadata=absent)))
    assert row.metadata == {}


@pytest.mark.parametrize(
    "text", ["2026-03-01T11:00:00", "2026-03-01 11:00:00", "2026-03-01t11:00:00z"]
)
def test_a_naive_or_lower_case_timestamp_is_utc(text: str) -> None:
    (row,) = events_of(body(event(timestamp=text)))
    assert row.timestamp == datetime(2026, 3, 1, 11, tzinfo=UTC)


def test_a_thousand_events_are_one_batch() -> None:
    rows = events_of(body(*(event(event_id=f"e{n}") for n in range(1000))))
    assert len(rows) == 1000


def test_a_timestamp_ahead_is_told_apart_from_the_rules_that_always_hold() -> None:
    _, rows, _, ahead = decode(body(event(timestamp="2026-03-01T12:05:01Z")), SCOPE, NOW)
    assert len(rows) == 1
    assert [(error.index, error.event_id, error.field) for error in ahead] == [
        (0, "e1", "timestamp")
    ]
    _, _, _, ahead = decode(body(event(timestamp="2026-03-01T12:05:00Z")), SCOPE, NOW)
    assert ahead == []


def test_with_an_age_limit_older_timestamps_are_told_apart_too() -> None:
    young, older = event(timestamp="2026-03-01T11:00:01Z"), event(timestamp="2026-03-01T10:59:59Z")
    assert decode(body(young), SCOPE, NOW, 3_600).untimely == []
    assert decode(body(older), SCOPE, NOW).untimely == []
    (fault,) = decode(body(older), SCOPE, NOW, 3_600).untimely
    assert (fault.index, fault.event_id, fault.field) == (0, "e1", "timestamp")
    assert "be at most 3600 s old with this key" in fault.reason


REFUSED: list[tuple[object, str, str]] = [
    (event(event_id=...), "event_id", "be given"),
    (event(event_id=5), "event_id", "be a text of 1 to 255 characters"),
    (event(event_id=None), "event_id", "be a text of 1 to 255 characters"),
    (event(event_id=""), "event_id", "be a text of 1 to 255 characters"),
    (event(event_id="x" * 256), "event_id", "be a text of 1 to 255 characters"),
    (event(event_id="a\nb"), "event_id", "be printable and not blank"),
    (event(customer_id=...), "customer_id", "be given"),
    (event(customer_id=""), "customer_id", "be a text of 1 to 255 characters"),
    (event(customer_id=" "), "customer_id", "be printable and not blank"),
    (event(customer_id=["c"]), "customer_id", "be a text of 1 to 255 characters"),
    (event(event_name=...), "event_name", "be given"),
    (event(event_name=True), "event_name", "be a text of 1 to 255 characters"),
    (event(timestamp=1_772_000_000), "timestamp", "be an RFC 3339 date and time"),
    (event(timestamp="yesterday"), "timestamp", "be an RFC 3339 date and time"),
    (event(timestamp="2026-03-01"), "timestamp", "be an RFC 3339 date and time"),
    (event(timestamp="2026-02-30T00:00:00Z"), "timestamp", "be an RFC 3339 date and time"),
    (event(timestamp="2014-12-31T23:59:59Z"), "timestamp", "not be before 2015-01-01T00:00:00Z"),
    (event(timestamp="0001-01-01T00:00:00+05:30"), "timestamp", "not be before 2015"),
    (event(metadata=[]), "metadata", "be an object of plain values"),
    (event(metadata="x"), "metadata", "be an object of plain values"),
    (event(metadata={"a": None}), "metadata.a", "not nested or null"),
    (event(metadata={"a": {"b": 1}}), "metadata.a", "not nested or null"),
    (event(metadata={"a": [1]}), "metadata.a", "not nested or null"),
    (event(metadata={"a": "x" * 501}), "metadata.a", "have at most 500 characters"),
    (event(metadata={"a": 10**38}), "metadata.a", "have at most 38 digits, 12 of them"),
    (event(metadata={"a": 1e-13}), "metadata.a", "have at most 38 digits, 12 of them"),
    (event(metadata={"": 1}), "metadata", "be a text of 1 to 100 characters"),
    (event(metadata={"k" * 101: 1}), "metadata", "be a text of 1 to 100 characters"),
    (event(metadata={str(n): n for n in range(51)}), "metadata", "have at most 50 pairs"),
    (event(quantity=5), "'quantity'", "not be there; the fields of an event are customer_id"),
    (5, "event", "be an object"),
    (None, "event", "be an object"),
]


@pytest.mark.parametrize(("bad", "field", "rule"), REFUSED)
def test_a_bad_event_is_named_with_field_value_and_rule(bad: object, field: str, rule: str) -> None:
    with pytest.raises(BatchRefusedError) as caught:
        decode(body(event(event_id="good"), bad), SCOPE, NOW)
    (error,) = caught.value.errors
    assert (error.index, error.field) == (1, field)
    assert "it must " + rule in error.reason or rule in error.reason
    assert str(caught.value).startswith(f"events[1].{error.reason[:10]}")


def test_every_fault_of_every_event_is_listed() -> None:
    bad = event(event_id="b", customer_id="", metadata={"x": None, "y": 1, "z": []})
    with pytest.raises(BatchRefusedError) as caught:
        decode(body(bad, event(), event(timestamp="2099-01-01T00:00:00Z")), SCOPE, NOW)
    found = [(error.index, error.event_id, error.field) for error in caught.value.errors]
    assert found == [
        (0, "b", "customer_id"),
        (0, "b", "metadata.x"),
        (0, "b", "metadata.z"),
        (2, "e1", "timestamp"),
        (2, "e1", "event_id"),
    ]


def test_an_id_twice_in_one_request_is_refused() -> None:
    with pytest.raises(BatchRefusedError, match="be unique in one request") as caught:
        decode(body(event(), event(event_id="e2"), event()), SCOPE, NOW)
    assert [error.index for error in caught.value.errors] == [2]


@pytest.mark.parametrize("count", [0, 1001])
def test_no_event_and_too_many_events_are_refused(count: int) -> None:
    with pytest.raises(InvalidInputError, match=f"events is {count}; it must be 1 to 1000 events"):
        decode(body(*(event(event_id=f"e{n}") for n in range(count))), SCOPE, NOW)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"events":5}',
        b'{"events":null}',
        b'"\xff"',
        b'{"events":[{"event_id":"\xff"}]}',
        b'{"events":[{"event_id":"\\ud800","customer_id":"c","event_name":"n"}]}',
        b'{"events":[{"event_id":"e","customer_id":"c","event_name":"n","metadata":{"a":NaN}}]}',
        b'{"events":[{"event_id":"e","customer_id":"c","event_name":"n","metadata":{"a":01}}]}',
        b'{"events":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'\xef\xbb\xbf{"events":[]}',
    ],
)
def test_what_is_no_batch_at_all_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        decode(raw, SCOPE, NOW)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (b'"event_id":1e999', "event_id"),
        (b'"event_id":' + b"1" * 5000, "event_id"),
        (b'"event_id":"e","timestamp":1e999', "timestamp"),
        (b'"event_id":"e","metadata":1e999', "metadata"),
        (b'"event_id":"e","metadata":{"bytes":1e1000000000}', "metadata.bytes"),
        (b'"event_id":"e","more":1e999', "'more'"),
        (b'"event_id":"e","customer_id":' + b"[" * 800 + b"]" * 800, "customer_id"),
    ],
)
def test_a_value_that_no_parser_reads_is_refused_by_its_field(fields: bytes, field: str) -> None:
    raw = b'{"events":[{"customer_id":"c","event_name":"n",%b}]}' % fields
    with pytest.raises(BatchRefusedError) as caught:
        decode(raw, SCOPE, NOW)
    assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize("depth", range(900, 1000))
def test_nesting_of_any_depth_is_refused(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    with pytest.raises((BatchRefusedError, MalformedBodyError)):
        decode(b'{"events":[{"event_id":%b,"more":%b}]}' % (deep, deep), SCOPE, NOW)


@pytest.mark.parametrize("stamp", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_timestamp_outside_the_calendar_is_refused_by_its_field(stamp: str) -> None:
    with pytest.raises(BatchRefusedError) as caught:
        decode(body(event(timestamp=stamp)), SCOPE, NOW)
    assert [error.field for error in caught.value.errors] == ["timestamp"]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (
            b'{"events":[{"event_id":5,"event_id":"e","customer_id":"c","event_name":"n"}]}',
            r"\$\.events\[0\]\.event_id",
        ),
        (
            b'{"events":[5],"events":[{"event_id":"e","customer_id":"c","event_name":"n"}]}',
            r"\$\.events\[0\]",
        ),
    ],
)
def test_a_field_that_is_given_twice_is_refused_if_the_first_does_not_fit(
    raw: bytes, path: str
) -> None:
    with pytest.raises(MalformedBodyError, match=path):
        decode(raw, SCOPE, NOW)


def test_a_refused_number_is_shown_as_it_was_sent() -> None:
    with pytest.raises(BatchRefusedError, match=r"metadata\.bytes is 0\.1234567890123; it must"):
        decode(body(event(metadata={"bytes": 0.1234567890123})), SCOPE, NOW)
