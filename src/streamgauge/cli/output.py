"""Results on stdout: tables for people, JSON and CSV for machines."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

import click

from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.exact_json import exact_json, one_line
from streamgauge.core.units import format_bytes

Row = Mapping[str, Any]


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def output_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--output`` as the parameter ``output``."""
    return click.option(
        "--output",
        "-o",
        type=click.Choice(list(Format), case_sensitive=False),
        default="table",
        show_default=True,
        help="Tables for people; JSON and CSV, with exact numbers, for machines.",
    )(function)


def emit_rows(
    output: Format,
    rows: Iterable[Row],
    columns: Sequence[Column],
    *,
    empty: str = "Nothing.",
    style: Callable[[Row], str] | None = None,
) -> None:
    """Write a list.

    Args:
        output: How.
        rows: What; JSON has every field of it.
        columns: What a table and CSV have of it.
        empty: What a table says, on stderr, when there is nothing.
        style: The style of a table's row.
    """
    found = list(rows)
    if output is Format.JSON:
        emit_json(found)
    elif output is Format.CSV:
        emit_csv(found, columns)
    elif found:
        styles = [style(row) for row in found] if style else ()
        emit_table([[cell(row, each) for each in columns] for row in found], columns, styles)
    else:
        hint(empty)


def emit_one(output: Format, row: Row, columns: Sequence[Column]) -> None:
    """Write one thing: a table has a line per field."""
    if output is Format.JSON:
        emit_json(row)
    elif output is Format.CSV:
        emit_csv([row], columns)
    else:
        emit_fields([(each.title, cell(row, each)) for each in columns])


def emit_json(value: object) -> None:
    """Write ``value`` as JSON."""
    click.echo(exact_json(value))


def emit_csv(rows: Iterable[Row], columns: Sequence[Column]) -> None:
    """Write CSV with a heading."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([each.key for each in columns])
    for row in rows:
        writer.writerow([plain(value_at(row, each.key)) for each in columns])


def emit_table(
    cells: Sequence[Sequence[str]], columns: Sequence[Column], styles: Sequence[str] = ()
) -> None:
    """Write a table; ``styles`` has one per row, or none."""
    from streamgauge.cli.tables import print_table  # noqa: PLC0415 - rich takes its time to load

    print_table(cells, columns, styles)


def emit_fields(fields: Sequence[tuple[str, str]], title: str = "") -> None:
    """Write names and values, one pair a line; an empty value is left out."""
    from streamgauge.cli.tables import print_fields  # noqa: PLC0415 - as above

    print_fields([(name, value) for name, value in fields if value], title)


def hint(text: str) -> None:
    """Write a line for people to stderr."""
    click.echo(text, err=True)


def value_at(row: Row, key: str) -> object:
    """Return the value at a dotted key, or None."""
    value: object = row
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def plain(value: object) -> str:
    """Return ``value`` as CSV carries it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (Mapping, list, tuple)):
        return one_line(value)
    return str(value)


def cell(row: Row, column: Column) -> str:
    """Return what a table shows of ``row`` in ``column``."""
    value = value_at(row, column.key)
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(each)}" for name, each in value.items())
    if column.kind is Kind.QUANTITY:
        return quantity(value, str(row.get("measurement_unit") or ""))
    if column.kind is Kind.INSTANT:
        return instant(str(value))
    return f"{value:,}" if isinstance(value, int) else plain(value)


def instant(text: str) -> str:
    """Return an instant of the API for people: UTC, to the second."""
    return f"{text[:10]} {text[11:19]}Z" if text.endswith("Z") else text


def quantity(value: object, unit: str) -> str:
    """Return a quantity for people: every digit, and for bytes the size beside it."""
    if not isinstance(value, int):
        return f"{plain(value)} {unit}".strip()
    if unit not in {"byte", "bytes", ""}:
        return f"{value:,} {unit}"
    size = format_bytes(value)
    exact = f"{value:,}" + (" B" if unit else "")
    return exact if not unit or size.endswith(" B") else f"{exact} ({size})"
