"""What every test run has: a header that names the engines, seeds that print, honest skips."""

from __future__ import annotations

import itertools
import logging
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

from tests import postgresql
from tests.clickhouse_front import FrontProcess

NODE_PACKAGES = Path(__file__).parent / "compat" / "node"
MARKERS = ("node", "browser", "curl", "netns", "nginx", "mosquitto", "postgresql")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")

# Machines differ, and no test asserts a duration; a failure prints how to see it again.
settings.register_profile("streamgauge", deadline=None, print_blob=True)
settings.load_profile("streamgauge")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose one seed for the run, here and in every worker, so that the header can name it."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.randrange(2**32))


def pytest_report_header(config: pytest.Config) -> list[str]:
    engines = [f"{name} {_version(name)}" for name in ("chdb", "clickhouse-connect", "msgspec")]
    engines.append(f"sqlite {sqlite3.sqlite_version}")
    return [
        f"engines: {', '.join(engines)}",
        f"node: {missing('node') or _output('node', '--version')}",
        f"browser: {missing('browser') or chromium()}",
        f"seed: --hypothesis-seed={config.option.hypothesis_seed}",
    ]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that lacks its program, or fail it where STREAMGAUGE_REQUIRE names the marker."""
    required = os.environ.get("STREAMGAUGE_REQUIRE", "").split(",")
    for marker in MARKERS:
        reason = item.get_closest_marker(marker) and missing(marker)
        if reason and marker in required:
            pytest.fail(f"required here: {reason}", pytrace=False)
        if reason:
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def logging_of_its_own() -> Iterator[None]:
    """Take away handlers that a test installs: they write to its captured, then closed, stream."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before and type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    root.setLevel(level)


# Programs that wait by select() take no descriptor from 1,024 on, and ClickHouse in this process
# keeps three files open for each thread it ever had: a few low ones are held for who needs them.
_LOW_DESCRIPTORS = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]


@pytest.fixture
def low_descriptors() -> Iterator[None]:
    """Let a test have descriptors that select() takes: the system gives the lowest free one."""
    for descriptor in _LOW_DESCRIPTORS:
        os.close(descriptor)
    yield
    _LOW_DESCRIPTORS[:] = [os.open(os.devnull, os.O_RDONLY) for _ in _LOW_DESCRIPTORS]


@cache
def missing(marker: str) -> str | None:
    """Return why tests of ``marker`` cannot run here, with the command that helps, or None."""
    special = {
        "browser": _missing_browser,
        "netns": _missing_namespaces,
        "node": _missing_node,
        "postgresql": postgresql.missing,
    }
    return special[marker]() if marker in special else _missing_program(marker)


def chromium() -> str | None:
    """Return the path of Chromium: ``STREAMGAUGE_CHROMIUM``, or what is found."""
    given = os.environ.get("STREAMGAUGE_CHROMIUM")
    return given or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[postgresql.Cluster]:
    """Run a PostgreSQL for this process of tests."""
    with postgresql.running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def clickhouse_url() -> Iterator[Callable[[], str]]:
    """Give URLs of new databases: of STREAMGAUGE_TEST_CLICKHOUSE_URL, else behind the front."""
    numbers = itertools.count(1)
    if given := os.environ.get("STREAMGAUGE_TEST_CLICKHOUSE_URL"):
        parts = urlsplit(given)
        yield lambda: parts._replace(path=f"/test_{os.getpid()}_{next(numbers)}").geturl()
        return
    front = FrontProcess()
    yield lambda: front.url(f"test_{next(numbers)}")
    front.close()


@pytest.fixture
def clickhouse_front() -> Iterator[FrontProcess]:
    """Run a front that a test may kill."""
    front = FrontProcess()
    yield front
    front.close()


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = chromium()
    assert path is not None, "the browser marker skips where it is missing"
    return path


def _missing_browser() -> str | None:
    return None if chromium() else "Chromium is missing: apt-get install chromium"


def _missing_namespaces() -> str | None:
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    return _missing_program("ip", "nft", "tcpdump")


def _missing_node() -> str | None:
    if shutil.which("node") is None:
        return "Node.js is missing: apt-get install nodejs npm"
    if not (NODE_PACKAGES / "node_modules" / "dodopayments").is_dir():
        return "the npm packages are missing: npm ci --prefix tests/compat/node"
    return None


def _missing_program(*programs: str) -> str | None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    for program in programs:
        if shutil.which(program, path=path) is None:
            package = {"ip": "iproute2", "nft": "nftables"}.get(program, program)
            return f"{program} is missing: apt-get install {package}"
    return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
