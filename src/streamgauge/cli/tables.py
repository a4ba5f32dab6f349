"""Tables and lists of fields in a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.failures import visible

# A pipe has no width; a table in it must not be cut.
_PIPE_COLUMNS: Final = 240
_WIDEST: Final = 10_000
_TO_THE_RIGHT: Final = frozenset({Kind.FIGURE, Kind.QUANTITY})


def print_table(
    cells: Sequence[Sequence[str]], columns: Sequence[Column], styles: Sequence[str]
) -> None:
    """Write a table to stdout, or a block per row where the terminal is too narrow for it.

    Args:
        cells: The rows.
        columns: Their columns.
        styles: One per row, or none.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for each in columns:
        right = each.kind in _TO_THE_RIGHT
        table.add_column(Text(each.title), justify="right" if right else "left", overflow="fold")
    for row, style in zip_longest(cells, styles, fillvalue=""):
        table.add_row(*(_text(each) for each in row), style=style)
    to = console()
    if to.measure(table, options=to.options.update(width=_WIDEST)).maximum <= to.width:
        _print(table)
        return
    for number, row in enumerate(cells):
        if number:
            print()
        titles = (column.title for column in columns)
        print_fields([pair for pair in zip(titles, row, strict=True) if pair[1]], "")


def print_fields(fields: Sequence[tuple[str, str]], title: str) -> None:
    """Write names and values to stdout, the values aligned."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(Text(name), _text(value))
    if title:
        _print(Text(visible(title), style="bold"))
    _print(table)


def console(*, stderr: bool = False) -> Console:
    """Return a console on the present stdout or stderr; NO_COLOR is obeyed."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def _text(text: str) -> Text:
    return Text(visible(text), overflow="fold")


def _print(what: Table | Text) -> None:
    """Print without the spaces that fill rows up."""
    to = console()
    with to.capture() as captured:
        to.print(what)
    for each in captured.get().splitlines():
        print(each.rstrip())
