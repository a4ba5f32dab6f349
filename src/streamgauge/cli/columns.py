"""What stands in a column of a table or of CSV."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What a column holds, as far as a table shows it in a way of its own."""

    TEXT = "text"
    FIGURE = "figure"
    QUANTITY = "quantity"
    INSTANT = "instant"


class Column(msgspec.Struct, frozen=True):
    """A column of a table and of CSV.

    Attributes:
        key: Where the value stands in a row; a dot leads into an object.
        title: Heading of the table; CSV has the key.
        kind: What it holds; a quantity gets its size in bytes beside it.
    """

    key: str
    title: str
    kind: Kind = Kind.TEXT
