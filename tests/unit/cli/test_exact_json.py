from __future__ import annotations

import json
from decimal import Decimal

from streamgauge.cli.exact_json import exact_json, exact_number, one_line, with_exact_numbers


def test_numbers_keep_every_digit() -> None:
    value = {"big": 10**40 + 1, "part": Decimal("1.000000000001"), "small": Decimal("1E-12")}
    text = exact_json(value)
    assert json.loads(text, parse_float=Decimal) == value
    assert '"small": 0.000000000001' in text


def test_any_json_comes_back_as_it_went() -> None:
    value = {"a": [1, None, True, False, 'ü\n"', {}, []], "b": {"c": "x"}}
    assert json.loads(exact_json(value)) == value
    assert json.loads(one_line(value)) == value
    assert "\n" not in one_line(value)


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert "\x1b" not in exact_json({"\x1b[2J": "\x1b]0;x\x07\u202e"})
    assert "\u202e" not in exact_json("\u202e")
    assert exact_json("ü") == '"ü"'


def test_quantities_become_numbers_and_other_texts_stay() -> None:
    answer = {
        "quantity": "300000000190",
        "price_per_unit": "5",
        "items": [{"units": "1.5", "customer_id": "17", "consumed_units": "2.000"}],
        "group": {"n": 1},
    }
    assert with_exact_numbers(answer) == {
        "quantity": 300_000_000_190,
        "price_per_unit": "5",
        "items": [{"units": Decimal("1.5"), "customer_id": "17", "consumed_units": 2}],
        "group": {"n": 1},
    }


def test_a_fraction_without_a_decimal_stays_a_text() -> None:
    assert exact_number("1/3") == "1/3"
    assert exact_number("-5") == -5
