from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from streamgauge.demo.api import Api, T
from streamgauge.demo.billing import Billing
from streamgauge.testing import ManualClock

JUST_BEFORE_MIDNIGHT = datetime(2026, 10, 31, 23, 59, 50, tzinfo=UTC)
OCTOBER = "2026-10-31"
NOVEMBER = "2026-11-01"


class MonthlyApi(Api):
    """Answers with an invoice of 117 cents for each month, as a server under a default plan."""

    def __init__(self) -> None:
        super().__init__(port=1)
        self.asked: list[dict[str, list[str]]] = []

    async def get(self, path: str, answer: type[T]) -> T:
        query = parse_qs(urlsplit(path).query)
        self.asked.append(query)
        line: dict[str, Any] = {"consumed_units": "9", "amount": 117, "explanation": "this"}
        line["title"] = query["at"][0][: len(OCTOBER)]
        invoice = {"total": 117, "lines": [line]}
        return msgspec.convert({"items": [invoice], "note": None}, answer)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(JUST_BEFORE_MIDNIGHT)


def test_a_run_across_the_end_of_a_month_is_charged_for_both_months(clock: ManualClock) -> None:
    billing = Billing(MonthlyApi(), clock)
    clock.advance(40)
    charge = asyncio.run(billing.charge("ana"))
    assert [line.title for line in charge.lines] == [OCTOBER, NOVEMBER]
    assert (charge.total, charge.total_text, charge.consumed_bytes) == (234, "2.34 USD", 18)


def test_a_run_within_a_month_is_charged_for_it_once(clock: ManualClock) -> None:
    billing = Billing(MonthlyApi(), clock)
    clock.advance(5)
    charge = asyncio.run(billing.charge("ana"))
    assert [line.title for line in charge.lines] == [OCTOBER]
    assert charge.total_text == "1.17 USD"
