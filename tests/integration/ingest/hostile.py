"""Bodies for ``POST /events/ingest`` that no honest client sends, from a seed."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Headers = dict[str, str]
Request = tuple[bytes, Headers]

ODD: tuple[str, ...] = (
    *("null", "true", "-1", "-0", "1.5", "1e999", "1e-999", "NaN", "Infinity", "0x1", "01", "1e5"),
    *("9223372036854775808", "18446744073709551616", "1" * 38, "1" * 39, "9" * 5000),
    *("0." + "0" * 12 + "1", "1" * 26 + "." + "9" * 12, "[]", "{}", "[[]]", '{"a":{"b":1}}'),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\u202e"', '"\\ufeff"', '"\u00e9"', '"e\u0301"'),
    *(f'"{"x" * 255}"', f'"{"x" * 256}"', f'"{"x" * 500}"', f'"{"x" * 501}"', "'a'", '"a', "\\"),
    *('"2026-01-01"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59.999999999-23:59"'),
    *('"2026-02-30T00:00:00Z"', '"2026-01-01T25:00:00Z"', '"2016-12-31T23:59:60Z"', "1753000000"),
    *('"../../etc/passwd"', '"\'; DROP TABLE events; --"', '"{{7*7}}"', '"%00"', '"\\r\\nX: y"'),
    *("[" * 200 + "]" * 200, "[" * 20_000, '{"a":' * 500 + "1" + "}" * 500, "1,", ",", ":", ""),
)
WHOLE: tuple[bytes, ...] = (
    *(b"", b" ", b"null", b"[]", b"{}", b"0", b'""', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}"),
    *(b'{"events":null}', b'{"events":[]}', b'{"events":{}}', b'{"events":[[]]}', b"events=1"),
    *(b'{"events":[null]}', b"<events/>", b"[" * 100_000, b'{"events":' * 50_000, b"\x1f\x8b\x08"),
)
PLACE = "\u0001here\u0001"


class Hostile:
    """Makes requests; every one that has events has ids that no other has.

    Args:
        seed: The same seed makes the same requests.
    """

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)
        self._name = seed
        self._number = 0

    def next(self) -> Request:
        """Return a body and its headers."""
        make: tuple[Callable[[], Request], ...] = (
            *(self._odd_value,) * 8,
            *(self._torn,) * 6,
            *(self._compressed,) * 3,
            *(self._twice, self._odd_name, self._encoded, self._crowd, self._whole),
        )
        return self._chance.choice(make)()

    def _events(self, count: int) -> list[dict[str, Any]]:
        self._number += 1
        return [
            {
                "event_id": f"{self._name}-{self._number}-{index}",
                "customer_id": "cus_1",
                "event_name": "stream",
                "timestamp": "2026-01-01T00:00:00Z",
                "metadata": {"bytes": index, "title": "a", "live": True},
            }
            for index in range(count)
        ]

    def _batch(self) -> dict[str, Any]:
        return {"events": self._events(self._chance.randrange(1, 5))}

    def _odd_value(self) -> Request:
        """One value, anywhere, is another."""
        batch = self._batch()
        where = self._chance.choice(list(_places(batch)))
        text = json.dumps(_changed(batch, where, PLACE))
        text = text.replace(json.dumps(PLACE), self._chance.choice(ODD))
        return text.encode(), {}

    def _odd_name(self) -> Request:
        """A name is another, or one more."""
        batch = self._batch()
        event = self._chance.choice(batch["events"])
        inside = self._chance.choice((batch, event, event["metadata"]))
        names = ("", "\x00", "k" * 100, "k" * 101, "__proto__", "event_id", "events", "Event_ID")
        if self._chance.random() < 0.5:
            inside[self._chance.choice(names)] = inside.pop(self._chance.choice(list(inside)))
        else:
            inside |= {f"{self._chance.choice(names)}{index}": index for index in range(60)}
        return json.dumps(batch).encode(), {}

    def _torn(self) -> Request:
        """Bytes are cut, put in, turned or repeated."""
        body = bytearray(json.dumps(self._batch()).encode())
        for _ in range(self._chance.randrange(1, 4)):
            at = self._chance.randrange(len(body) or 1)
            to = min(len(body), at + self._chance.randrange(1, 40))
            kind = self._chance.randrange(5)
            if kind == 0:
                del body[at:]
            elif kind == 1:
                del body[at:to]
            elif kind == 2:
                body[at:at] = self._chance.randbytes(self._chance.randrange(1, 5))
            elif kind == 3:
                body[at : at + 1] = self._chance.choice((b"\x00", b'"', b"\\", b"{", b"}", b"\xc3"))
            else:
                body[at:at] = body[at:to]
        return bytes(body), {}

    def _twice(self) -> Request:
        """A name stands twice, with another value, or an id is in the batch twice."""
        batch = self._batch()
        if self._chance.random() < 0.3:
            batch["events"].append(copy.deepcopy(batch["events"][0]))
            return json.dumps(batch).encode(), {}
        text = json.dumps(batch)
        name = self._chance.choice(("event_id", "customer_id", "metadata", "bytes", "events"))
        odd = self._chance.choice(ODD)
        return text.replace(f'"{name}":', f'"{name}": {odd}, "{name}":', 1).encode(), {}

    def _compressed(self) -> Request:
        """Something is gzip, or says so."""
        body = gzip.compress(json.dumps(self._batch()).encode(), 1)
        headers = {"content-encoding": "gzip"}
        at = self._chance.randrange(len(body))
        kind = self._chance.randrange(60)
        if kind == 0:
            return gzip.compress(bytes(17 * 1024 * 1024), 9), headers
        if kind < 10:
            return body[:at], headers
        if kind < 20:
            return body[:at] + self._chance.randbytes(2) + body[at + 2 :], headers
        if kind < 30:
            return body + self._chance.choice((b"x", body, gzip.compress(b"")[:-1])), headers
        if kind < 35:
            return json.dumps(self._batch()).encode(), headers
        encodings = ("br", "gzip, gzip", "deflate", "GZIP", "", "identity", "x" * 500)
        return body, {"content-encoding": self._chance.choice(encodings)}

    def _encoded(self) -> Request:
        """A good batch in an encoding that JSON has not."""
        text = json.dumps(self._batch())
        encoding = self._chance.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037"))
        return text.encode(encoding), {"content-type": self._chance.choice(("text/plain", "*"))}

    def _crowd(self) -> Request:
        """One of many breaks a rule, or there are too many."""
        events = self._events(self._chance.choice((20, 20, 20, 200, 1001)))
        bad = self._chance.choice(events)
        odd: dict[str, Any] = {
            "event_id": "",
            "customer_id": None,
            "event_name": 7,
            "timestamp": "2999-01-01T00:00:00Z",
            "metadata": {"a": {}},
        }
        name = self._chance.choice(list(odd))
        bad[name] = odd[name]
        return json.dumps({"events": events}).encode(), {}

    def _whole(self) -> Request:
        return self._chance.choice((*WHOLE, self._chance.randbytes(50))), {}


def _places(tree: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(tree, dict | list):
        for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _places(part, (*path, name))


def _changed(tree: dict[str, Any], path: tuple[Any, ...], to: object) -> dict[str, Any]:
    at: Any = tree
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = to
    return tree
