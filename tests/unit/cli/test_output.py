from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest

from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.output import Format, emit_one, emit_rows, quantity

COLUMNS = (
    Column("id", "id"),
    Column("quantity", "quantity", Kind.QUANTITY),
    Column("group.quality", "quality"),
    Column("at", "at", Kind.INSTANT),
)
ROWS = [
    {
        "id": "a,b",
        "quantity": 12_345_678_901,
        "measurement_unit": "byte",
        "group": {"quality": "1080p"},
        "at": "2026-11-24T03:49:57.000189Z",
    },
    {"id": "[red]x", "quantity": 0, "measurement_unit": "byte", "group": {}, "at": None},
]


def test_a_table_has_exact_figures_with_their_size(capsys: pytest.CaptureFixture[str]) -> None:
    emit_rows(Format.TABLE, ROWS, COLUMNS)
    text = capsys.readouterr().out
    assert "12,345,678,901 B (12.35 GB)" in text
    assert "2026-11-24 03:49:57Z" in text
    assert "[red]x" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    emit_rows(Format.JSON, ROWS, COLUMNS)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_csv_has_the_columns_with_plain_figures(capsys: pytest.CaptureFixture[str]) -> None:
    emit_rows(Format.CSV, ROWS, COLUMNS)
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert found[0] == {
        "id": "a,b",
        "quantity": "12345678901",
        "group.quality": "1080p",
        "at": "2026-11-24T03:49:57.000189Z",
    }
    assert found[1]["quantity"] == "0"


def test_nothing_is_said_on_stderr_in_a_table_alone(capsys: pytest.CaptureFixture[str]) -> None:
    emit_rows(Format.TABLE, [], COLUMNS, empty="No rows.")
    assert capsys.readouterr() == ("", "No rows.\n")
    emit_rows(Format.JSON, [], COLUMNS)
    assert capsys.readouterr() == ("[]\n", "")
    emit_rows(Format.CSV, [], COLUMNS)
    assert capsys.readouterr() == ("id,quantity,group.quality,at\n", "")


def test_a_terminal_never_obeys_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "a\x1b[2Jb\nc"}
    emit_rows(Format.TABLE, [row], COLUMNS[:1])
    emit_one(Format.TABLE, row, COLUMNS[:1])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (999, "byte", "999 B"),
        (1_000, "bytes", "1,000 B (1.00 KB)"),
        (12, "minute", "12 minute"),
        (Decimal("1.5"), "minute", "1.5 minute"),
        ("1/3", "byte", "1/3 byte"),
        (4_096, "", "4,096"),
    ],
)
def test_a_quantity_is_shown_with_its_unit(value: object, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_the_width_of_a_pipe_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "x" * 150, "quantity": 1, "measurement_unit": "byte"}
    emit_rows(Format.TABLE, [row], COLUMNS)
    assert "x" * 150 in capsys.readouterr().out


def test_no_color_is_obeyed_where_colours_were_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> str:
        emit_rows(Format.TABLE, ROWS, COLUMNS, style=lambda _row: "red")
        return capsys.readouterr().out

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown()


def test_a_narrow_terminal_gets_a_block_per_row_and_whole_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**ROWS[0], "id": f"mtr_{letter * 26}"} for letter in "ab"]
    monkeypatch.setenv("COLUMNS", "60")
    emit_rows(Format.TABLE, rows, COLUMNS)
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 60
    assert "id        mtr_" + "a" * 26 in text
    assert "quantity  12,345,678,901 B (12.35 GB)" in text
    assert text.count("\n\n") == 1
