"""Live progress on the terminal: what happens now, and how many bytes each customer has."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from streamgauge.demo.audience import Viewer
    from streamgauge.demo.relay import Relay

_REFRESHES_PER_S = 4


class Stage:
    """Shows the demo as it goes; use it as a context manager.

    On a terminal it redraws in place; elsewhere every step is one line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._done: list[Text] = []
        self._spinner = Spinner("dots")
        self._players: list[tuple[Viewer, Relay]] = []
        self._counted: dict[str, int] = {}
        self._live = Live(
            get_renderable=self._draw,
            console=console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            auto_refresh=console.is_terminal,
        )

    @property
    def seconds(self) -> float:
        """Return how long the demo has been going."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def step(self, words: str) -> None:
        """Say what happens now."""
        self._spinner.update(text=Text(f" {words}"))
        line = Text.assemble((f"{self.seconds:5.1f} s  ", "dim"), words)
        self._console.print(line, highlight=False)

    def watch(self, players: list[tuple[Viewer, Relay]]) -> None:
        """Show these players from now on."""
        self._players = players

    def unwatch(self) -> None:
        """Show no players any more."""
        self._players = []

    def counted(self, totals: dict[str, int]) -> None:
        """Show what the billing server has counted, per customer."""
        self._counted = totals

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._players:
            table = Table.grid(padding=(0, 2))
            table.add_row("", "[dim]received[/dim]", "[dim]usage so far[/dim]", "")
            for viewer, relay in self._players:
                table.add_row(
                    Text(viewer.customer_id, style="bold"),
                    Text(f"{relay.payload:>12,}"),
                    Text(f"{self._counted.get(viewer.customer_id, 0):>12,}"),
                    Text(viewer.does, style="dim"),
                )
            parts.append(table)
        parts.append(self._spinner)
        return Group(*parts)
