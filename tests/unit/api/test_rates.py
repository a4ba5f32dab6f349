from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from streamgauge.core.errors import UnavailableError
from streamgauge.core.limits import KEYS_CACHED_MAX
from streamgauge.server.api.arriving import Bodies
from streamgauge.server.rates import Rates, TooManyRequestsError
from streamgauge.testing import ManualClock

START = datetime(2027, 1, 15, 8, tzinfo=UTC)
START_S = 1_800_000_000


@contextmanager
def refused(window_s: int) -> Iterator[None]:
    with pytest.raises(TooManyRequestsError, match=f"within {window_s} s"):
        yield


def left(rates: Rates, key_id: str = "key_1") -> tuple[int, int]:
    allowance = rates.take(key_id)
    assert allowance is not None
    return allowance.limit, allowance.remaining


def new_clock() -> ManualClock:
    return ManualClock(START)


def test_a_second_and_a_minute_are_counted_apart() -> None:
    clock = new_clock()
    rates = Rates(per_second=2, per_minute=5, clock=clock)
    assert [left(rates), left(rates)] == [(2, 1), (2, 0)]
    with refused(1):
        rates.take("key_1")
    clock.advance(1)
    assert [left(rates), left(rates)] == [(2, 1), (2, 0)]
    clock.advance(1)
    assert left(rates) == (5, 0)
    with refused(60):
        rates.take("key_1")
    clock.advance(58)
    assert left(rates) == (2, 1)


def test_keys_do_not_share_what_is_left_to_them() -> None:
    rates = Rates(per_second=1, clock=new_clock())
    assert left(rates, "key_1") == left(rates, "key_2") == (1, 0)
    with refused(1):
        rates.take("key_1")


def test_a_refusal_says_when_to_come_again() -> None:
    clock = new_clock()
    rates = Rates(per_minute=1, clock=clock)
    rates.take("key_1")
    clock.advance(10.5)
    with pytest.raises(TooManyRequestsError) as raised:
        rates.take("key_1")
    assert raised.value.retry_after_s == 50
    assert raised.value.allowance.headers() == {
        "x-ratelimit-limit": "1",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(START_S + 60),
    }


def test_without_limits_nothing_is_counted() -> None:
    rates = Rates(clock=new_clock())
    assert {rates.take("key_1") for _ in range(1_000)} == {None}


def test_keys_of_past_windows_are_forgotten() -> None:
    clock = new_clock()
    rates = Rates(per_second=1, clock=clock)
    for number in range(KEYS_CACHED_MAX + 10):
        rates.take(f"key_{number}")
        clock.advance(0.01)
    assert len(rates._used) <= KEYS_CACHED_MAX


def test_every_answer_says_what_is_left_and_the_next_is_429(api: Any, parts: Any) -> None:
    parts.rates = Rates(per_minute=3, clock=new_clock())
    seen = [api.send("GET", path) for path in ("/meters", "/meters/none", "/meters", "/meters")]
    assert [each.status_code for each in seen] == [200, 404, 200, 429]
    assert [each.headers["x-ratelimit-remaining"] for each in seen] == ["2", "1", "0", "0"]
    assert {each.headers["x-ratelimit-limit"] for each in seen} == {"3"}
    assert seen[-1].headers["retry-after"] == "60"
    assert seen[-1].json()["code"] == "TOO_MANY_REQUESTS"
    assert api.send("GET", "/nowhere").status_code == 404


def test_bodies_that_arrive_at_once_are_bounded_together() -> None:
    async def story() -> None:
        bodies = Bodies(bytes_max=100)
        wait = asyncio.Event()

        def arriving(*parts: bytes) -> Any:
            left = list(parts)

            async def receive() -> dict[str, Any]:
                if len(left) == 1:
                    await wait.wait()
                body = left.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(left)}

            return receive

        scope: Any = {"type": "http", "headers": []}
        first = asyncio.ensure_future(bodies.read(scope, arriving(b"a" * 90, b"a")))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError, match="too many bodies"):
            await bodies.read(scope, arriving(b"b" * 20, b"b"))
        wait.set()
        assert await first == b"a" * 91
        assert await bodies.read(scope, arriving(b"c" * 90, b"c")) == b"c" * 91

    asyncio.run(story())
