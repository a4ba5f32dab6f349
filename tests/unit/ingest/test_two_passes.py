from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as some

from streamgauge.server.ingest.decode import Scope, decode
from streamgauge.server.ingest.errors import BatchRefusedError, EventError
from streamgauge.server.ingest.refusals import refusals

NOW = datetime(2026, 3, 1, tzinfo=UTC)

junk = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.text(), inner, max_size=2),
    max_leaves=4,
)
texts = some.sampled_from(["a", "b", "", " ", "x" * 255, "x" * 256, "é", "\n"])
plain = some.integers() | some.booleans() | some.text(max_size=4) | some.sampled_from([0.1, 1e30])
stamps = some.sampled_from(
    ["2026-02-01T00:00:00Z", "2014-01-01T00:00:00", "2027-01-01T00:00:00+01:00", "x", "", 5, None]
)
events = some.fixed_dictionaries(
    {"event_id": texts | junk, "customer_id": texts, "event_name": texts},
    optional={
        "timestamp": stamps,
        "metadata": some.none()
        | some.dictionaries(some.text(max_size=3), plain | junk, max_size=3),
        "more": junk,
    },
)


@given(some.lists(events | junk, min_size=1, max_size=4), some.sampled_from((None, 3_600)))
def test_the_second_pass_finds_a_fault_exactly_where_the_first_refuses(
    batch: list[object], age_s_max: int | None
) -> None:
    # A lone surrogate is no JSON text at all, which another rule refuses.
    body = json.dumps({"events": batch}, ensure_ascii=False).encode(errors="replace")
    errors = refusals(body, NOW, age_s_max)
    try:
        untimely = decode(body, Scope("bus_1", "live_mode"), NOW, age_s_max).untimely
        refused: tuple[EventError, ...] = ()
    except BatchRefusedError as error:
        untimely, refused = [], error.errors
    assert errors == [*untimely, *refused]
