"""``streamgauge backup`` and ``restore``: one state of a server, as a directory of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streamgauge.cli.client import Client
from streamgauge.cli.columns import Column, Kind
from streamgauge.cli.connection import operator_exchange
from streamgauge.cli.data_dir import data_dir_option
from streamgauge.cli.extras import extra
from streamgauge.cli.output import Format, emit_one, output_option
from streamgauge.cli.progress import waiting
from streamgauge.core.errors import LockedError
from streamgauge.core.units import format_bytes
from streamgauge.server.layout import BACKUPS

if TYPE_CHECKING:
    from streamgauge.server.backup.manifest import Manifest

_BACKUP = (
    Column("directory", "backup"),
    Column("business_id", "business"),
    Column("taken_at", "state of", Kind.INSTANT),
    Column("segment", "last segment"),
    Column("files", "files"),
    Column("bytes", "bytes", Kind.QUANTITY),
)
_RESTORED = (
    *_BACKUP,
    Column("events", "events"),
    Column("replayed", "from the log"),
    Column("customers", "customers"),
    Column("subscriptions", "subscriptions"),
    Column("invoices", "invoices"),
)


@click.command()
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@data_dir_option
@output_option
def backup(destination: Path, data_dir: Path, output: Format) -> None:
    """Copy the state of this moment into DEST, also while the server runs.

    Everything that was acknowledged before is in it, and nothing after. DEST must be empty or not
    be there; on the same file system most of it is hard links. It holds the hashes of keys and the
    secrets of the directory, and is readable to you alone: keep it so. A backup that is
    interrupted is never restored.
    """
    with extra("server"):
        from streamgauge.server.backup import copying  # noqa: PLC0415 - the extra may be missing
        from streamgauge.server.backup.holding import Held, free_to_copy  # noqa: PLC0415

    copying.check_destination(destination, data_dir)
    with operator_exchange(data_dir) as exchange, free_to_copy(data_dir) as free:
        if not free:
            raise LockedError(f"another backup of {data_dir} is running")
        client = Client(exchange, address=f"the server on {data_dir}", headers={})
        with waiting("Holding the state"):
            held = msgspec.convert(client.post("v1", "backups"), Held)
        try:
            with waiting("Copying") as say:
                source = data_dir / BACKUPS / held.id
                whole = copying.copy(source, held, destination, _copied(say))
        finally:
            client.ask("DELETE", "v1", "backups", held.id)
    emit_one(output, _told(destination, whole), _BACKUP)


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@data_dir_option
@output_option
def restore(source: Path, data_dir: Path, output: Format) -> None:
    """Make a data directory of the backup SRC, and open it once to see that it works.

    The directory must be empty or not be there. Every byte is checked; SRC stays as it is.
    """
    with extra("server"):
        from streamgauge.cli.local import looked_into  # noqa: PLC0415 - as above
        from streamgauge.server.backup import restoring  # noqa: PLC0415

    with waiting("Restoring") as say:
        whole = restoring.restore(source, data_dir, _copied(say))
        say("Opening it")
        with restoring.finished(source, data_dir):
            found = looked_into(data_dir)
    found["replayed"] = found["events"] - whole.held.stored
    emit_one(output, _told(source, whole) | found, _RESTORED)


def _copied(say: Callable[[str], None]) -> Callable[[int], None]:
    return lambda done: say(f"{format_bytes(done)} copied")


def _told(directory: Path, whole: Manifest) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(whole.held)
    sizes = {"files": len(whole.files), "bytes": whole.size_bytes}
    return {**told, "directory": str(directory), **sizes}
