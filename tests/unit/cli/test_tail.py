from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from streamgauge.cli.client import Client
from streamgauge.cli.tail import Tail
from streamgauge.core.clock import iso

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Events:
    """Answers ``GET /events`` as the server does: newest first, ``start`` included."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, id: str, at: datetime) -> None:
        self.events.append({"event_id": id, "timestamp": iso(at)})

    def exchange(
        self, _method: str, target: str, _body: bytes | None, _headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        start = datetime.fromisoformat(asked.get("start", "0001-01-01T00:00:00Z"))
        found = [each for each in self.events if at(each) >= start]
        found.sort(key=at, reverse=True)
        size, number = int(asked["page_size"]), int(asked["page_number"])
        page = found[size * number : size * (number + 1)]
        return 200, json.dumps({"items": page}).encode()


def at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


def tail_of(events: Events) -> Tail:
    return Tail(Client(events.exchange, address="here", headers={}))


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["event_id"] for each in found]


def test_the_newest_come_first_and_older_ones_are_never_news() -> None:
    events = Events()
    for number in range(5):
        events.add(f"e{number}", NOW + timedelta(seconds=number))
    tail = tail_of(events)
    assert ids(tail.first(2)) == ["e3", "e4"]
    assert tail.news() == []


def test_every_arrival_is_news_once_also_when_it_was_used_earlier() -> None:
    events = Events()
    events.add("a", NOW)
    tail = tail_of(events)
    tail.first(0)
    events.add("late", NOW - timedelta(minutes=30))
    events.add("new", NOW + timedelta(seconds=1))
    assert ids(tail.news()) == ["late", "new"]
    assert tail.news() == []


def test_it_begins_on_an_empty_store() -> None:
    events = Events()
    tail = tail_of(events)
    assert tail.first(10) == []
    events.add("a", NOW)
    assert ids(tail.news()) == ["a"]


def test_more_arrivals_than_a_page_are_all_news() -> None:
    events = Events()
    events.add("first", NOW)
    tail = tail_of(events)
    tail.first(1)
    expected = [f"e{number:04}" for number in range(2_500)]
    for number, id in enumerate(expected):
        events.add(id, NOW + timedelta(milliseconds=number + 1))
    assert ids(tail.news()) == expected


def test_what_was_shown_is_forgotten_with_the_hour() -> None:
    events = Events()
    tail = tail_of(events)
    tail.first(0)
    for number in range(10):
        events.add(f"e{number}", NOW + timedelta(minutes=20 * number))
        assert ids(tail.news()) == [f"e{number}"]
    assert len(tail._shown) <= 4
