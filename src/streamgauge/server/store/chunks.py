# ruff: noqa: S608 - Conditions go through compile.literal; the rest is our own text.
"""Events in pieces of bearable size: by month, and within it by ranges of customers."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from streamgauge.server.archived import month_start
from streamgauge.server.metering import compile as compiled
from streamgauge.server.store.engine import Engine
from streamgauge.server.store.view import Rows


class Chunk(NamedTuple):
    """Events of one month, of the customers behind ``after`` up to ``up_to``, by bytes.

    Attributes:
        month: Year and month, as in 202603.
    """

    month: int
    after: str
    up_to: str

    @property
    def start(self) -> datetime:
        """Return the start of the month."""
        return month_start(self.month // 100, self.month % 100)

    @property
    def end(self) -> datetime:
        """Return the end of the month, which is not in it."""
        return month_start(self.month // 100, self.month % 100 + 1)

    @property
    def condition(self) -> str:
        """Return the SQL predicate of its events."""
        return (
            f"toYYYYMM(timestamp) = {self.month} "
            f"AND customer_id > {compiled.literal(self.after)} "
            f"AND customer_id <= {compiled.literal(self.up_to)}"
        )


def chunks(engine: Engine, rows: Rows, rows_max: int) -> list[Chunk]:
    """Return chunks of about ``rows_max`` events, for the same events always the same ones.

    A customer's month is never cut. A chunk lies in one piece in the order of the table.

    Raises:
        UnavailableError: The engine refuses.
    """
    found = engine.rows(
        "SELECT month, max(customer_id) FROM (SELECT toYYYYMM(timestamp) AS month, "
        "customer_id, sum(count()) OVER (PARTITION BY month ORDER BY customer_id) AS place "
        f"FROM {rows} GROUP BY month, customer_id) "
        f"GROUP BY month, intDiv(place, {rows_max}) ORDER BY ALL"
    )
    made, last = list[Chunk](), (0, "")
    for month, up_to in found:
        made.append(Chunk(month, last[1] if last[0] == month else "", up_to))
        last = (month, up_to)
    return made
