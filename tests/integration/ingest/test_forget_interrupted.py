"""Forgetting that stops at any of its steps is finished by asking again, or by the next start."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.clock import utc
from streamgauge.core.disk import OsDirectory
from streamgauge.server.app import Opened
from streamgauge.server.catalog.customers import NewCustomer
from streamgauge.server.catalog.forgotten import Forgotten
from streamgauge.server.config import Config
from streamgauge.server.ingest.decode import Scope
from streamgauge.server.ingest.quarantine import Quarantine
from streamgauge.server.ingest.wal import Wal
from streamgauge.server.metering.forgetting import MARK
from streamgauge.server.store import EventStore

MODE = "test_mode"
STEPS: list[tuple[type, str]] = [
    (Forgotten, "begin"),
    (Quarantine, "rewrite"),
    (Wal, "rewrite"),
    (EventStore, "forget"),
    (Forgotten, "finish"),
]
CASES = list(itertools.product(range(len(STEPS)), ("before", "after")))


class StoppedError(Exception):
    """Nothing after a step was done."""


def stop_at(case: tuple[int, str], patch: pytest.MonkeyPatch) -> None:
    (owner, name), when = STEPS[case[0]], case[1]
    whole = getattr(owner, name)

    def stopped(*given: Any) -> Any:
        if when == "after":
            whole(*given)
        raise StoppedError

    patch.setattr(owner, name, stopped)


def customer(case: tuple[int, str], again: str) -> str:
    return f"cus-{case[0]}-{case[1]}-{again}"


async def fill(opened: Opened, ids: list[str]) -> None:
    parts = opened.parts
    scope = Scope(parts.catalog.business_id, MODE)
    for id in ids:
        new = NewCustomer(customer_id=id, name=f"secret of {id}", email="ann@example.com")
        parts.catalog.customers.create(MODE, new)
    for half in (0, 1):
        events = ", ".join(
            f'{{"event_id": "{id}-{half}", "customer_id": "{id}", "event_name": "stream", '
            f'"metadata": {{"note": "secret of {id}"}}}}'
            for id in ids
        )
        await parts.pipeline.ingest(f'{{"events": [{events}]}}'.encode(), scope)
        await parts.pipeline.caught_up()


def check_clean(opened: Opened, path: Path, ids: list[str]) -> None:
    parts = opened.parts
    assert parts.catalog.forgotten.unfinished() == []
    for id in ids:
        assert parts.catalog.customers.get(MODE, id).name == "Forgotten customer"
        events = parts.store.events(
            business_id=parts.catalog.business_id, mode=MODE, customer_id=id
        )
        assert [event.metadata for event in events] == [{MARK: "true"}] * 2
    files = [*(path / "log").glob("*"), *(path / "quarantine").glob("*")]
    files += path.glob("catalog.sqlite*")
    for id in ids:
        secret = f"secret of {id}".encode()
        assert [file.name for file in files if secret in file.read_bytes()] == []


def test_an_interruption_at_any_step_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    asked = [customer(case, "asked") for case in CASES]
    started = [customer(case, "started") for case in CASES]

    async def first() -> None:
        opened = await asyncio.to_thread(Opened, Config(data_dir=path))
        opened.start()
        try:
            await fill(opened, asked + started)
            kept = Quarantine(OsDirectory(path / "quarantine"))
            kept.set_aside(999, 0, [b'{"customer_id":"x"}'], str(utc(0)))
            for case in CASES:
                for ids in (asked, started):
                    id = ids[CASES.index(case)]
                    with monkeypatch.context() as patch:
                        stop_at(case, patch)
                        with pytest.raises(StoppedError):
                            await opened.parts.forgetter.forget(MODE, id)
                done = await opened.parts.forgetter.forget(MODE, asked[CASES.index(case)])
                assert done.done_at is not None
        finally:
            await opened.close()

    async def second() -> None:
        opened = await asyncio.to_thread(Opened, Config(data_dir=path))
        opened.start()
        try:
            assert opened._forgetting is not None
            await asyncio.wait_for(opened._forgetting, 30)
            # Who was stopped before the first step is not noted anywhere, so it is asked again.
            await opened.parts.forgetter.forget(MODE, customer((0, "before"), "started"))
            check_clean(opened, path, asked + started)
        finally:
            await opened.close()

    asyncio.run(first())
    asyncio.run(second())
