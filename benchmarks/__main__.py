"""Run benchmarks, each in a process of its own: ``python -m benchmarks [name...]``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

NAMES = (
    "session_add",
    "asgi_chunk",
    "asgi_stream",
    "open_sessions",
    "track_call",
    "known_ids",
    "http_to_rollup",
    "rollup_cost",
    "usage_queries",
)


def main() -> int:
    """Run those named, or all; return how many failed."""
    names = sys.argv[1:] or list(NAMES)
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(NAMES)}")
        return 2
    failed = 0
    for name in names:
        module = f"benchmarks.{name}"
        if importlib.util.find_spec(module) is None:
            print(f"{name}: not there", flush=True)
            failed += 1
            continue
        print(f"\n== {name}", flush=True)
        root = Path(__file__).parents[1]
        failed += (
            subprocess.run([sys.executable, "-m", module], cwd=root, check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
