# ruff: noqa: S608 - The condition goes through compile.literal; the rest is our own text.
"""Take metadata of a forgotten customer out of the stored events.

The engine writes the parts again that hold such events, beside inserts, and goes on with it after a
crash. Rollups hold nothing but what meters need.
"""

from __future__ import annotations

import threading

from streamgauge.core.errors import UnavailableError
from streamgauge.server.metering.forgetting import Forget
from streamgauge.server.store.engine import Engine


def forget(engine: Engine, writing: threading.Lock, rule: Forget, up_to: int) -> bool:
    """Return whether no event up to a log position holds more than ``rule`` keeps.

    If some do, they are being rewritten when this returns; ask again.

    Raises:
        UnavailableError: The engine refuses, or fails at it; it goes on trying.
    """
    condition = rule.condition(up_to)
    if not engine.rows(f"SELECT 1 FROM events WHERE {condition} LIMIT 1"):
        return True
    running = unfinished(engine)
    for reason in running:
        if reason:
            raise UnavailableError(f"the event engine cannot rewrite events: {reason}", 30)
    if not running:
        with writing:
            engine.define(
                "ALTER TABLE events "
                f"UPDATE metadata = {rule.staying()} WHERE {condition} SETTINGS mutations_sync = 0"
            )
    return False


def unfinished(engine: Engine) -> list[str]:
    """Return, for each rewriting of events that is not done, why it last failed, empty if never.

    Raises:
        UnavailableError: The engine refuses.
    """
    rows = engine.rows(
        "SELECT latest_fail_reason FROM system.mutations "
        "WHERE database = currentDatabase() AND table = 'events' AND NOT is_done"
    )
    return [reason for (reason,) in rows]
