"""Which ingest log fills a store that others could reach too."""

from __future__ import annotations

from streamgauge.core.errors import ConfigurationError
from streamgauge.server.metering import compile as compiled
from streamgauge.server.store import schema
from streamgauge.server.store.engine import Engine


def claim(engine: Engine, origin: str) -> None:
    """Make the store that of one ingest log; twice is once.

    Two logs number their segments alike, so that one's would pass for repeats of the other's.

    Raises:
        ConfigurationError: It is another one's.
        UnavailableError: The engine refuses; the same call may be made again.
    """
    engine.define(schema.ORIGINS)
    first = "SELECT origin FROM origins ORDER BY since, origin LIMIT 1"
    if not engine.rows(first):
        engine.define(f"INSERT INTO origins SELECT {compiled.literal(origin)}, now64(6)")
    ((owner,),) = engine.rows(first)
    if owner != origin:
        raise ConfigurationError(
            f"the store is filled from the ingest log {owner}, and this directory's is {origin}"
            " (log.origin); each needs a database of its own"
        )
