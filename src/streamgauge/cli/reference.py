"""``docs/reference/cli.md``: what every command says of itself; ``python -m`` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from streamgauge.cli.failures import MEANINGS
from streamgauge.cli.root import root

_HEAD: Final = """# The command line

Generated from the commands by `python -m streamgauge.cli.reference`; a test compares it.

Results go to stdout, everything else to stderr. Tables are for people: quantities stand with every
digit and, for bytes, their size beside it. `--output json` and `--output csv` are for machines:
quantities are exact numbers of any size, amounts are whole minor units of the currency (`700` is
7.00 USD), instants are RFC 3339 in UTC. `NO_COLOR` is obeyed, and a pipe gets no colours.

## Which server, and as whom

`serve`, `keys`, `sign-in`, `spool`, `doctor`, `backup`, `restore` and `retention` work on a data
directory, or on files. All others ask a server:

- With `--data-dir DIR`, the server that runs on that directory, through its private unix socket, as
  its operator: no key, and `--mode` says which mode. If none runs there, the command opens the
  directory itself for as long as it takes; it never does while another process has it open.
- Else over HTTP: `--url`, else `STREAMGAUGE_URL`, else `http://127.0.0.1:8000`, with the key in
  `STREAMGAUGE_API_KEY`, else in `DODO_PAYMENTS_API_KEY`. A key of Dodo Payments' own is never sent.

## Exit status

A failure is one line on stderr that names the field, the value and the rule.

| status | meaning |
|---|---|
"""
_WIDTH: Final[dict[str, Any]] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 96,
    "terminal_width": 96,
}


def text() -> str:
    """Return the page."""
    statuses = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return _HEAD + statuses + "".join(f"\n{section}" for section in _sections())


def _sections() -> Iterator[str]:
    for context in contexts(click.Context(root, info_name=root.name, **_WIDTH)):
        yield f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"


def contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command and of every command in it, groups first."""
    yield context
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            yield from contexts(click.Context(command, context, info_name=name, **_WIDTH))


if __name__ == "__main__":
    click.echo(text(), nl=False)
