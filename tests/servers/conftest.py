from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.running import Servers
from tests.wire.certificate import write_certificate

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    directory = tmp_path_factory.mktemp("servers")
    made = Servers(directory, write_certificate(directory / "server.pem"))
    yield made
    made.close()


@pytest.fixture
def customer() -> str:
    """Return a customer that no other test has."""
    return f"customer-{next(_NUMBERS)}"


@pytest.fixture
def named() -> Callable[[str], str]:
    number = next(_NUMBERS)
    return lambda name: f"{name}-{number}"


@pytest.fixture
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.getbasetemp() / "film.bin"
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(100 * 1024 * 1024)
    return path
