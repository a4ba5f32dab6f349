from __future__ import annotations

import inspect
import sys

import pytest

from streamgauge.core import errors
from streamgauge.core.errors import (
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    StreamgaugeError,
    shown,
)


def test_the_drawn_tree_names_every_error_and_nothing_else() -> None:
    assert errors.__doc__ is not None
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    made = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, StreamgaugeError)
    }
    assert drawn == made


def test_bad_input_names_the_field_the_value_and_the_rule() -> None:
    error = InvalidInputError("bytes", -5, "be at least 0")
    assert str(error) == "bytes is -5; it must be at least 0"
    assert (error.field, error.value, error.rule) == ("bytes", -5, "be at least 0")
    assert isinstance(error, ValueError)


def test_a_long_value_is_cut_in_a_message() -> None:
    assert shown("short") == "'short'"
    assert len(shown("x" * 10_000)) < 120
    assert shown("x" * 10_000).endswith("(10002 characters)")


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    with pytest.raises(ImportError, match=r"pip install 'streamgauge\[server\]'"):
        raise MissingExtraError("server", "chdb")


def test_an_unknown_id_is_named_with_its_kind() -> None:
    assert str(NotFoundError("meter", "mtr_1")) == "no meter has the id 'mtr_1'"


def test_a_value_that_python_cannot_write_is_shown_by_its_type() -> None:
    deep: list[object] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    assert shown(deep) == "too large a value of type list"
    assert shown(10**5_000) == "too large a value of type int"
