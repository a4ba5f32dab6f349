"""``python -m streamgauge.server --data-dir DIR``: the server alone, without the CLI."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from streamgauge.core.errors import StreamgaugeError
from streamgauge.server.config import load
from streamgauge.server.run import Ready, serve


def main() -> int:
    """Serve until a signal; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m streamgauge.server")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--log", dest="ingest_log")
    parser.add_argument("--role")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--catalog")
    parser.add_argument("--store")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    flags = {
        "data_dir": options.data_dir,
        "catalog": options.catalog,
        "store": options.store,
        "ingest_log": options.ingest_log,
        "role": options.role,
        "listen.host": options.host,
        "listen.port": options.port,
    }
    try:
        serve(load(file=options.config, environ=os.environ, flags=flags), _announce)
    except StreamgaugeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _announce(ready: Ready) -> None:
    sys.stdout.write(f"{ready.url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
