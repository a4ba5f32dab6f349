"""``streamgauge nginx``: bills what nginx on this host sends, in the foreground."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

import click

from streamgauge.cli.output import hint, quantity
from streamgauge.core.events import MODES
from streamgauge.nginx import LOG_FORMAT, NginxLog
from streamgauge.sdk.ingestion import Ingestion
from streamgauge.sdk.spooldir import default_spool_dir
from streamgauge.streams.layers import LAYERS


@click.group()
def nginx() -> None:
    """What nginx on this host sends, billed by its log and by the kernel's word on its sockets."""


@nginx.command("log-format")
def log_format() -> None:
    """Print the log_format that goes into nginx's configuration."""
    click.echo(LOG_FORMAT, nl=False)


@nginx.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--event-name", metavar="NAME", required=True, help="What meters match.")
@click.option("--mode", type=click.Choice(MODES), required=True, help="Test or live.")
@click.option("--url", metavar="URL", help="The server.  [default: Dodo Payments]")
@click.option("--account", metavar="NAME", default="", help="As an Ingestion's account.")
@click.option(
    "--layer",
    type=click.Choice(LAYERS),
    default=LAYERS[0],
    show_default=True,
    help="Which bytes are billed.",
)
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65_535),
    multiple=True,
    default=(80, 443),
    show_default=True,
    help="What nginx listens on; may be given again.",
)
@click.option(
    "--log-delay-s",
    type=click.FloatRange(0, 60),
    default=5.0,
    show_default=True,
    help="More than flush= of access_log, if it has one.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keeps how far the log was read.  [default: nginx beside the spools]",
)
def follow(  # noqa: PLR0917 - click hands over by name.
    log: Path,
    event_name: str,
    mode: str,
    url: str | None,
    account: str,
    layer: str,
    ports: tuple[int, ...],
    log_delay_s: float,
    state_dir: Path | None,
) -> None:
    """Bill what LOG says until Ctrl-C or SIGTERM; run one on each host that has an nginx.

    The key comes from DODO_PAYMENTS_API_KEY, and STREAMGAUGE_SPOOL_DIR says where events wait.
    """
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with (
        Ingestion(environment=mode, event_name=event_name, base_url=url, account=account) as to,
        NginxLog(
            to,
            log,
            state_dir=state_dir or default_spool_dir().parent / "nginx",
            ports=ports,
            layer=layer,
            log_delay_s=log_delay_s,
        ) as reader,
    ):
        hint(f"Following {log}.")
        reader.run(stopped)
        stats = reader.stats()
        hint(f"Recorded {stats.responses:,} responses, {quantity(stats.billed_bytes, 'byte')}.")
