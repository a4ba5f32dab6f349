"""Commands that work on the files of a data directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from streamgauge.cli.extras import extra
from streamgauge.core.disk import OsDirectory
from streamgauge.core.errors import InvalidInputError
from streamgauge.server.layout import CATALOG, ELSEWHERE

if TYPE_CHECKING:
    from streamgauge.server.catalog import Catalog

DATA_DIR_VARIABLE: Final = "STREAMGAUGE_DATA_DIR"
CATALOG_VARIABLE: Final = "STREAMGAUGE_CATALOG"


def data_dir_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--data-dir``, which it needs, as the parameter ``data_dir``."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        required=True,
        envvar=DATA_DIR_VARIABLE,
        show_envvar=True,
        metavar="DIR",
        help="The server's directory.",
    )(function)


def catalog_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--catalog``, as ``serve`` takes it, as the parameter ``catalog_url``."""
    return click.option(
        "--catalog",
        "catalog_url",
        envvar=CATALOG_VARIABLE,
        show_envvar=True,
        metavar="URL",
        help="The server's postgresql://..., where its catalog is there.",
    )(function)


@contextlib.contextmanager
def catalog_of(
    data_dir: Path, catalog_url: str | None, *, create: bool = False
) -> Iterator[Catalog]:
    """Open the catalog of a data directory, also while a server runs on it.

    Raises:
        InvalidInputError: There is none, and ``create`` is false.
        ConfigurationError: The directory is a link, another user's, or open to others, or its
            catalog is another one.
        UnavailableError: PostgreSQL cannot be reached.
    """
    with extra("server"):
        from streamgauge.server.catalog import Catalog  # noqa: PLC0415 - the extra may be missing
    path = data_dir / CATALOG
    known = catalog_url or path.exists() or path.with_name(ELSEWHERE).exists()
    if not create and not known:
        raise InvalidInputError("--data-dir", str(data_dir), f"hold a server's {CATALOG}")
    OsDirectory(data_dir, create=create)
    catalog = Catalog(path, url=catalog_url or None)
    try:
        yield catalog
    finally:
        catalog.close()
