"""Events as they arrive, each once."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from streamgauge.cli.client import Client, Tree
from streamgauge.core.clock import iso
from streamgauge.core.limits import PAGE_SIZE_MAX

# The API lists by time of use; what arrives later than this after the newest is not shown.
LOOK_BACK: Final = timedelta(hours=1)
# Of one second; beyond, older ones are skipped, and the count says so.
_NEWS_MAX: Final = 5_000


class Tail:
    """Remembers which events of the last hour were shown.

    Args:
        client: Asks the server.
        customer_id: Of this customer only.
        event_name: With this name only.
    """

    def __init__(
        self, client: Client, *, customer_id: str | None = None, event_name: str | None = None
    ) -> None:
        self._client = client
        self._which = {"customer_id": customer_id, "event_name": event_name}
        self._shown: dict[str, datetime] = {}
        self._newest: datetime | None = None

    def first(self, count: int) -> list[Tree]:
        """Return the newest ``count`` events, oldest first; older ones are never news."""
        found = self._newest_events()
        self._remember(found)
        return found[:count][::-1]

    def news(self) -> list[Tree]:
        """Return what arrived since the last call, oldest first."""
        found = [each for each in self._newest_events() if each["event_id"] not in self._shown]
        self._remember(found)
        return found[::-1]

    def _newest_events(self) -> list[Tree]:
        start = None if self._newest is None else iso(self._newest - LOOK_BACK)
        size = PAGE_SIZE_MAX
        pages = self._client.items("events", page_size=size, start=start, **self._which)
        return list(islice(pages, _NEWS_MAX if start else size))

    def _remember(self, found: list[Tree]) -> None:
        for event in found:
            at = datetime.fromisoformat(event["timestamp"])
            self._shown[event["event_id"]] = at
            self._newest = max(at, self._newest or at)
        if self._newest is not None:
            oldest = self._newest - LOOK_BACK
            self._shown = {id: at for id, at in self._shown.items() if at >= oldest}
