"""Spools of other versions: older ones are read, newer ones are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamgauge.core.disk import OsDirectory
from streamgauge.core.limits import ADOPTION_INTERVAL_S
from streamgauge.sdk.identity import FORMAT, read_identity
from streamgauge.sdk.inspection import inspect_spools
from streamgauge.sinks.base import Delivered, Outgoing
from streamgauge.testing import assert_conserved


class Far:
    destination = "far"

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    def deliver(self, batch: list[Outgoing]) -> Delivered:
        self.kept.update({event.event_id: event.quantity or 0 for event in batch})
        return Delivered(acknowledged=tuple(event.event_id for event in batch))

    def close(self) -> None:
        pass


@pytest.fixture
def root(spool_dir: Path) -> OsDirectory:
    return OsDirectory(spool_dir, create=True)


def age(path: Path) -> None:
    """Give a spool the form that version 1 of the format has."""
    identity = json.loads((path / "spool.json").read_text())
    (path / "spool.json").write_text(json.dumps(identity | {"format": 1}))
    if (path / "checkpoint").exists():
        checkpoint = json.loads((path / "checkpoint").read_text())
        old = {"format": 1} | {key: checkpoint[key] for key in ("delivered", "sequence")}
        (path / "checkpoint").write_text(json.dumps(old))
    (path / "released").unlink()


def old_spool(stepped: Any, root: OsDirectory, spool_dir: Path) -> Any:
    host = stepped(Far(), root)
    for n in range(3):
        host.track(10 + n)
    host.engine.adopt()
    host.deliver()
    host.track(100)
    host.session().add(7)
    host.engine.tick()
    host.engine.dispatch.election.resign()
    age(spool_dir / host.engine.spool.name)
    return host


def test_an_older_spool_is_adopted_and_what_it_had_not_delivered_is_billed(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    old = old_spool(stepped, root, spool_dir)
    old.engine.abandon()
    heir = stepped(Far(), root)
    heir.engine.adopt()
    heir.deliver()
    assert sorted(heir.sink.kept.values()) == [7, 100]
    assert heir.stats().left_alone == ()
    assert_conserved(heir.stats())
    assert not (spool_dir / old.engine.spool.name).exists()


def test_an_older_spool_whose_process_lives_is_left_to_it(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    old_spool(stepped, root, spool_dir)
    host = stepped(Far(), root)
    for _ in range(3):
        host.engine.adopt()
        host.deliver()
        host.clock.advance(ADOPTION_INTERVAL_S)
    assert host.sink.kept == {}
    assert host.stats().left_alone == ()


def test_a_newer_spool_is_left_alone_and_said_to_be_newer(
    stepped: Any, root: OsDirectory, spool_dir: Path
) -> None:
    newer = stepped(Far(), root)
    newer.track(5)
    newer.engine.tick()
    newer.engine.abandon()
    path = spool_dir / newer.engine.spool.name
    identity = json.loads((path / "spool.json").read_text())
    (path / "spool.json").write_text(json.dumps(identity | {"format": FORMAT + 1}))
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    host = stepped(Far(), root)
    host.engine.adopt()
    host.deliver()
    (reason,) = host.stats().left_alone
    assert f"has format {FORMAT + 1}, of a newer version" in reason
    assert host.sink.kept == {}
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    problems = [report.problems for report in inspect_spools(spool_dir) if report.name == path.name]
    assert "of a newer version" in problems[0][0]


def test_what_is_written_now_says_its_format(stepped: Any, root: OsDirectory) -> None:
    host = stepped(Far(), root)
    assert read_identity(root.child(host.engine.spool.name)).format == FORMAT == 2
