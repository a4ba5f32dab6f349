"""The ``streamgauge`` command: its groups, and what becomes of failures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click
from click.shell_completion import shell_complete

from streamgauge._version import __version__
from streamgauge.cli.backup import backup, restore
from streamgauge.cli.customers import customers
from streamgauge.cli.demo import demo
from streamgauge.cli.doctor import doctor
from streamgauge.cli.events import events
from streamgauge.cli.failures import ChecksFailedError, ExitStatus, exit_status, line
from streamgauge.cli.invoices import invoices
from streamgauge.cli.keys import keys
from streamgauge.cli.meters import meters
from streamgauge.cli.nginx import nginx
from streamgauge.cli.retention import retention
from streamgauge.cli.serve import serve, sign_in
from streamgauge.cli.spool import spool
from streamgauge.cli.usage import usage
from streamgauge.core.errors import StreamgaugeError

_NAME: Final = "streamgauge"
_COMPLETION: Final = "_STREAMGAUGE_COMPLETE"


@click.group(name=_NAME, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=_NAME)
def root() -> None:
    """Bill customers for the bytes they stream: counted, kept, billed once, explained."""


for _command in (
    serve,
    sign_in,
    demo,
    doctor,
    keys,
    meters,
    customers,
    events,
    usage,
    invoices,
    spool,
    nginx,
    backup,
    restore,
    retention,
):
    root.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        status = _perform(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except (click.Abort, KeyboardInterrupt):
        return ExitStatus.INTERRUPTED
    except ChecksFailedError:
        return ExitStatus.FAILED
    except click.ClickException as error:
        return _misused(error)
    except (StreamgaugeError, OSError) as error:
        return _failed(_text(error), exit_status(error))
    return status


def _perform(arguments: Sequence[str]) -> int:
    if instruction := os.environ.get(_COMPLETION):
        return shell_complete(root, {}, _NAME, _COMPLETION, instruction)
    try:
        with root.make_context(_NAME, list(arguments)) as context:
            answer = root.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return answer if isinstance(answer, int) else ExitStatus.DONE


def _misused(error: click.ClickException) -> ExitStatus:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return ExitStatus.INVALID
    context = getattr(error, "ctx", None)
    where = f" (see {context.command_path} --help)" if context is not None else ""
    return _failed(error.format_message() + where, ExitStatus.INVALID)


def _failed(message: str, status: ExitStatus) -> ExitStatus:
    click.echo(f"Error: {line(message)}", err=True)
    return status


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _pipe_closed() -> ExitStatus:
    """Point stdout elsewhere, since Python flushes it once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return ExitStatus.PIPE_CLOSED
