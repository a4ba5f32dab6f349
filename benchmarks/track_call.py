"""What one `track_stream_bytes` call costs the application, beside the npm blueprint's.

CPU time of the whole client process per call, from the call to the acknowledgement of the last
event; both deliver to the same recorder on this machine. Rounds alternate.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamgauge import Ingestion, track_stream_bytes
from streamgauge.testing import assert_conserved

HERE = Path(__file__).parent
NODE_DIR = HERE.parent / "tests" / "compat" / "node"
BLUEPRINT = NODE_DIR / "node_modules" / "@dodopayments" / "ingestion-blueprints"
WARM_UP_CALLS = 200
AT_A_TIME = 16


def ours_us(address: str, calls: int) -> float:
    """Return CPU per call of this process, its threads included, in microseconds."""
    with tempfile.TemporaryDirectory() as parent:
        ingestion = Ingestion(
            environment="test_mode",
            event_name="stream_consumption",
            api_key="sg_test_benchmark",
            base_url=address,
            spool_dir=Path(parent) / "spool",
        )
        _track(ingestion, WARM_UP_CALLS)
        started_ns = time.process_time_ns()
        _track(ingestion, calls)
        spent_ns = time.process_time_ns() - started_ns
        ingestion.close()
        assert_conserved(ingestion.stats())
    return spent_ns / calls / 1_000


def _track(ingestion: Ingestion, calls: int) -> None:
    for _ in range(calls):
        track_stream_bytes(
            ingestion, customer_id="customer_123", bytes=65_536, metadata={"quality": "1080p"}
        )
    if not ingestion.flush(60):
        raise TimeoutError(ingestion.stats().last_error)


def theirs_us(address: str, calls: int) -> float:
    """Return the same of the npm blueprint, from a Node of its own."""
    package = (BLUEPRINT / "dist" / "index.js").as_uri()
    command = ["node", "--import", str(NODE_DIR / "redirect.mjs"), str(HERE / "track_call.mjs")]
    ended = subprocess.run(
        [*command, package, str(calls), str(AT_A_TIME)],
        env={**os.environ, "METERING_BASE_URL": address},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(ended.stdout)


@contextmanager
def recording() -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield a recorder's address and what says, at the end, how many events it got."""
    recorder = subprocess.Popen(
        [sys.executable, HERE / "recorder.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert recorder.stdout is not None
    try:
        yield recorder.stdout.readline().strip(), lambda: int(recorder.communicate(timeout=10)[0])
    finally:
        if recorder.poll() is None:
            recorder.communicate(timeout=10)


def why_not_node() -> str | None:
    """Return what is missing to run the npm package, or None."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not BLUEPRINT.is_dir():
        return f"the npm packages are not installed; run: npm ci --prefix {NODE_DIR}"
    return None


def main() -> None:
    """Print the median of both and the ratio, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3_000)
    options = parser.parse_args()
    missing = why_not_node()
    ours: list[float] = []
    theirs: list[float] = []
    with recording() as (address, recorded):
        for _ in range(options.rounds):
            ours.append(ours_us(address, options.calls))
            if missing is None:
                theirs.append(theirs_us(address, options.calls))
        sent = (options.calls + WARM_UP_CALLS) * (len(ours) + len(theirs))
        print(f"events sent: {sent}, recorded: {recorded()}")
    report("streamgauge: track_stream_bytes", ours)
    if missing is not None:
        print(f"npm blueprint: trackStreamBytes: skipped, {missing}")
        return
    report("npm blueprint: trackStreamBytes", theirs)
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


def report(name: str, values: list[float]) -> None:
    """Print the median."""
    print(f"{name:40}{statistics.median(values):>10.1f} us of CPU per call")


if __name__ == "__main__":
    main()
