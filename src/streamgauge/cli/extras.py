"""Optional parts of the package: a missing one is named with the command that installs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from streamgauge.core.errors import MissingExtraError


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a failed import of another package in the block into an error that names ``name``.

    Raises:
        MissingExtraError: A package of this extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or ""
        if isinstance(error, MissingExtraError) or module.partition(".")[0] == "streamgauge":
            raise
        raise MissingExtraError(name, module) from error
