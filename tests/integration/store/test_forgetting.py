from __future__ import annotations

import json
import time
from typing import Any

import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.core.metadata import canonical
from streamgauge.server.metering.filters import Condition, Conjunction, Filter, Operator
from streamgauge.server.metering.forgetting import MARK, Forget, keys_of_meters

LAST = 2**32 - 1
KEPT = {"stream": ("bytes", "quality"), "it's": ("{odd}%",)}


def rule(customer: str = "cus_1") -> Forget:
    return Forget(business_id="bus_1", mode="test_mode", customer_id=customer, kept=KEPT)


def done(shelf: Any, asked: Forget, up_to: int) -> None:
    end = time.monotonic() + 20
    while not shelf.store.forget(asked, up_to):
        assert time.monotonic() < end
        time.sleep(0.02)


def stored(shelf: Any) -> dict[str, dict[str, str]]:
    query = "SELECT event_id, metadata FROM events"
    return {id: dict(pairs) for id, pairs in shelf.store._engine.rows(query)}


def test_the_store_keeps_what_the_log_keeps(shelf: Any) -> None:
    values = {"bytes": 5, "quality": "hd", "mail": "ann@example.com", "{odd}%": 1, "": "x"}
    rows = []
    for number in range(64):
        keys = [key for place, key in enumerate(values) if number >> place & 1]
        name = ("stream", "it's", "other")[number % 3]
        pairs = {key: canonical(values[key]) for key in keys}
        changes = {"event_name": name, "customer_id": f"cus_{number % 2}", "metadata": pairs}
        rows.append(shelf.row(f"e{number}", **changes))
    shelf.insert(1, *rows)
    before = stored(shelf)
    done(shelf, rule(), 1 << 32 | LAST)
    for row in rows:
        line = {**row, "metadata": {key: json.loads(t) for key, t in row["metadata"].items()}}
        left = json.loads(rule().row(json.dumps(line, separators=(",", ":")).encode()))["metadata"]
        found = stored(shelf)[row["event_id"]]
        assert found.keys() - {MARK} == left.keys()
        assert (MARK in found) == (len(left) < len(before[row["event_id"]]))


def test_events_behind_the_place_and_of_others_stay_and_it_ends_after_a_restart(
    shelf: Any, new_meter: Any
) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    secret = {"bytes": "7", "mail": '"ann@example.com"'}
    for segment in (1, 2):
        rows = [shelf.row(f"{c}-{segment}", customer_id=c, metadata=secret) for c in ("cus_1", "b")]
        shelf.insert(segment, *rows)
    assert not shelf.store.forget(rule(), 1 << 32 | LAST)
    shelf.reopen()
    done(shelf, rule(), 1 << 32 | LAST)
    forgotten = {"bytes": "7", MARK: "true"}
    others = {"b-1": secret, "b-2": secret, "cus_1-2": secret}
    assert stored(shelf) == {"cus_1-1": forgotten} | others
    assert sum(row.quantity for row in shelf.both_ways(meter)) == 28
    assert shelf.store.forget(rule(), 1 << 32 | LAST)
    shelf.insert(1, shelf.row("again"))
    assert "again" not in stored(shelf)


def test_an_engine_that_fails_at_it_says_so(shelf: Any) -> None:
    shelf.insert_values(1, "1")
    shelf.store._engine.define(
        "ALTER TABLE events UPDATE metadata = map('x', toString(throwIf(1))) WHERE 1 "
        "SETTINGS mutations_sync = 0"
    )
    nothing = Forget(business_id="bus_1", mode="test_mode", customer_id="cus_1", kept={})
    with pytest.raises(UnavailableError, match="cannot rewrite events"):
        done(shelf, nothing, 1 << 32 | LAST)


def test_what_meters_measure_and_filter_by_is_kept(new_meter: Any) -> None:
    leaf = Condition(key="quality", operator=Operator.EQUALS, value='"hd"')
    within = Filter(conjunction=Conjunction.OR, clauses=(leaf,))
    meters = [
        new_meter(filter=Filter(conjunction=Conjunction.AND, clauses=(within,))),
        new_meter("unique", "viewer"),
        new_meter("count", None, event_name="other"),
    ]
    assert keys_of_meters(meters) == {"stream": ("bytes", "quality", "viewer"), "other": ()}
