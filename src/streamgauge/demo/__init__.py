"""The demo: real video to real players, through a crash, onto invoices, all figures compared.

In comes nothing but ffmpeg and this package; out comes a table of what every customer received,
and what was counted, invoiced and charged for it. What always holds: it leaves no process behind,
writes to its own directory only, and fails loudly when a figure contradicts another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgauge.core.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def run(*, output: str = "table", keep: bool = False, data_dir: Path | None = None) -> int:
    """Run the demo and return its exit status: 0 if all figures agree, 130 if interrupted.

    Findings go to standard output, progress to standard error.

    Args:
        output: ``table`` or ``json``.
        keep: Leave the billing server up, with its page, until interrupted.
        data_dir: Where media and data go and stay; a temporary directory if None.

    Raises:
        InvalidInputError: There is no such output.
        MissingExtraError: The ``demo`` extra is not installed.
    """
    try:
        from streamgauge.demo.show import perform  # noqa: PLC0415 - its children need none of it
    except ModuleNotFoundError as error:
        raise MissingExtraError("demo", error.name or "a part of the demo") from error
    return perform(output=output, keep=keep, data_dir=data_dir)
