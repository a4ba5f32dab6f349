from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.bed import Bed
from tests.wire.certificate import write_certificate
from tests.wire.server import Server


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    with Bed() as made:
        yield made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("certificate") / "server.pem")


@pytest.fixture(scope="session")
def server(bed: Bed, certificate: Path) -> Iterator[Server]:
    with Server(bed.server, certificate) as made:
        yield made
