from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest


@pytest.mark.parametrize(
    "texts",
    [
        [str(2**53 + 1), str(2**53 + 1)],
        [str(2**63 - 1), "1"],
        [str(2**64 - 1), "1", str(2**64)],
        ["123456789012345678901234567890", "1"],
        ["0.000000000001", "0.123456789012", "99999999999999999999.5"],
        ["9" * 38] * 1000,
        ["9" * 26 + "." + "9" * 12] * 7,
        ["-5", "3", "-0.000000000001"],
    ],
)
def test_sums_are_exact_by_rollup_and_by_events(
    shelf: Any, new_meter: Any, texts: list[str]
) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    shelf.insert_values(1, *texts)
    with localcontext(prec=5):
        (row,) = shelf.both_ways(meter)
    assert Fraction(row.quantity) == sum(map(Fraction, texts))
    assert (row.events, row.not_counted) == (len(texts), 0)


def test_what_is_no_number_is_not_counted_but_listed(shelf: Any, new_meter: Any) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    shelf.insert_values(1, '"150"', "true", "150", '""')
    shelf.insert(2, shelf.row("without"), shelf.row("other", event_name="Stream"))
    (row,) = shelf.both_ways(meter)
    assert (row.quantity, row.events, row.not_counted) == (Decimal(150), 1, 4)


def test_only_texts_and_no_number_at_all_are_still_seen(shelf: Any, new_meter: Any) -> None:
    meter = new_meter()
    shelf.roll_up(meter, 0)
    shelf.insert_values(1, '"150"')
    (row,) = shelf.both_ways(meter)
    assert (row.quantity, row.events, row.not_counted) == (Decimal(0), 0, 1)


def test_a_count_counts_events_whatever_they_carry(shelf: Any, new_meter: Any) -> None:
    meter = new_meter("count", None)
    shelf.roll_up(meter, 0)
    shelf.insert_values(1, '"150"', "true", "150")
    (row,) = shelf.both_ways(meter)
    assert (row.quantity, row.events, row.not_counted) == (Decimal(3), 3, 0)
