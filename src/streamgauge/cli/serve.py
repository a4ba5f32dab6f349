"""``streamgauge serve``: the server, in the foreground; ``sign-in``: a way into its pages."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from streamgauge.cli.client import Client
from streamgauge.cli.data_dir import data_dir_option
from streamgauge.cli.extras import extra
from streamgauge.cli.output import hint
from streamgauge.cli.transport import over_unix_socket
from streamgauge.core.errors import StreamgaugeError
from streamgauge.core.limits import KEEP_EVENTS_DAYS_MIN
from streamgauge.server.layout import ADDRESS, ADMIN_SOCKET

if TYPE_CHECKING:
    from streamgauge.server.run import Ready


_PARTS: Final = ("data_dir", "catalog", "store", "ingest_log", "role", "keep_events_days")


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Everything the server keeps; made if it is not there.  [env var: STREAMGAUGE_DATA_DIR]",
)
@click.option(
    "--catalog",
    metavar="URL",
    help="postgresql://...: keep keys, customers, meters and invoices there, for several "
    "processes.  [env var: STREAMGAUGE_CATALOG; default: a file in --data-dir]",
)
@click.option(
    "--store",
    metavar="URL",
    help="clickhouse://...: keep events in that database of a ClickHouse server.  "
    "[env var: STREAMGAUGE_STORE; default: an engine in --data-dir]",
)
@click.option(
    "--log",
    "ingest_log",
    metavar="URL",
    help="nats://HOST:PORT,HOST:PORT: accept events into NATS JetStream, with a quorum of its "
    "nodes.  [env var: STREAMGAUGE_INGEST_LOG; default: files in --data-dir]",
)
@click.option(
    "--role",
    type=click.Choice(["all", "api", "writer"]),
    help="With --log: accept events, or bring them to the store, which one process does.  "
    "[env var: STREAMGAUGE_ROLE; default: all]",
)
@click.option(
    "--keep-events-days",
    type=int,
    metavar="DAYS",
    help=f"Move raw events that are older out of the engine into Parquet files; at least "
    f"{KEEP_EVENTS_DAYS_MIN}.  [env var: STREAMGAUGE_KEEP_EVENTS_DAYS; default: none are moved]",
)
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="0 takes a free one.  [default: 8000]")
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Speak TLS with this certificate chain, in PEM.",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its private key, unless the same file holds both.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy, or a network of proxies, that ends TLS in front of the server; may be repeated.",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Scripts of this origin may call the API with a key they have; may be repeated.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Options in TOML; variables of the environment win over it, flags over both.",
)
def serve(config: Path | None, **options: object) -> None:
    """Run a server until Ctrl-C or SIGTERM.

    Prints its address, alone, on stdout. A terminal also gets a link that signs a browser in to
    the pages, once, within ten minutes.

    Listens on this machine only unless told otherwise. Towards others it needs TLS: of its own,
    or of a proxy in front.
    """
    with extra("server"):
        from streamgauge.server.config import load  # noqa: PLC0415 - the extra may be missing
        from streamgauge.server.run import serve as run  # noqa: PLC0415 - as above

    flags = {name: options.pop(name) for name in _PARTS}
    flags["listen.port"] = options.pop("port")
    flags |= {f"listen.{name}": value or None for name, value in options.items()}
    run(load(file=config, environ=os.environ, flags=flags), _announce)


@click.command("sign-in")
@data_dir_option
@click.option("--url", metavar="URL", help="Where the browser finds the server; else its address.")
def sign_in(data_dir: Path, url: str | None) -> None:
    """Print a link to the server's pages.

    It signs a browser in, once, within ten minutes.
    """
    path = link_path(data_dir / ADMIN_SOCKET)
    click.echo((url or (data_dir / ADDRESS).read_text().strip()).rstrip("/") + path)


def link_path(admin_socket: Path) -> str:
    """Return the path and query of a new link, as the server's operator.

    Raises:
        UnavailableError: No server runs there.
    """
    client = Client(over_unix_socket(admin_socket), address=str(admin_socket), headers={})
    return str(client.post("app", "links")["path"])


async def _announce(ready: Ready) -> None:
    click.echo(ready.url)
    sys.stdout.flush()
    if sys.stderr.isatty():
        try:
            path = await asyncio.to_thread(link_path, ready.admin_socket)
            hint(f"Pages, once, within ten minutes: {ready.local_url}{path}")
        except StreamgaugeError as error:
            hint(f"No link to the pages: {error}")
