from __future__ import annotations

from pathlib import Path

import click

from streamgauge.cli.reference import contexts, text
from streamgauge.cli.root import root

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def test_the_page_says_what_the_commands_say() -> None:
    renew = "python -m streamgauge.cli.reference > docs/reference/cli.md"
    assert PAGE.read_text() == text(), f"renew it with: {renew}"


def test_every_command_and_option_says_what_it_is_for() -> None:
    for context in contexts(click.Context(root, info_name="streamgauge")):
        assert context.command.help, context.command_path
        for option in context.command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{context.command_path} {option.name}"
