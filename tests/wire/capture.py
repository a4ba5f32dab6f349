"""tcpdump on the server's link, from before the first packet to after the last."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.wire.bed import MTU_BYTES, Namespace
from tests.wire.packets import Connection, read_connections

# Ethernet, IPv6 and TCP with all its options.
_KEPT_BYTES: Final = 14 + 40 + 60
_BUFFER_KIB: Final = 32 * 1024
_POLL_S: Final = 0.05
_SETTLE_S: Final = 20.0


class Capture:
    """A running capture of the TCP packets of a namespace's ``eth0``."""

    def __init__(self, namespace: Namespace, path: Path) -> None:
        self._path = path
        # A client whose last acknowledgement was lost repeats its FIN into the next capture.
        self._earlier = namespace.clients_over
        # Without immediate mode the kernel hands packets over in blocks, and the last is lost.
        options = ("--immediate-mode", "-U", "-s", str(_KEPT_BYTES), "-B", str(_BUFFER_KIB))
        self._tcpdump = namespace.start(
            *("tcpdump", "-i", "eth0", "-n", "-Z", "root", *options, "-w", str(path), "tcp"),
            stderr=subprocess.PIPE,
        )
        assert self._tcpdump.stderr is not None
        said = self._tcpdump.stderr.readline()
        while said and b"listening on" not in said:
            said = self._tcpdump.stderr.readline()
        if not said:
            raise OSError("tcpdump did not start")

    def connections(self) -> dict[int, Connection]:
        """Return what was captured so far, by the client's port."""
        return read_connections(self._path, mtu_bytes=MTU_BYTES, earlier=self._earlier)

    def stop(self, *client_ports: int) -> dict[int, Connection]:
        """Stop when the clients' connections are over, and return all; a lost packet raises."""
        give_up_at = time.monotonic() + _SETTLE_S
        before_bytes, size_bytes = -1, 0
        # Quiet for a moment too: a reset may be captured before what crossed it.
        while before_bytes != size_bytes or not self._are_over(client_ports):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"not over: {client_ports} in {self.connections()}")
            time.sleep(_POLL_S)
            before_bytes, size_bytes = size_bytes, self._path.stat().st_size
        self._tcpdump.send_signal(signal.SIGINT)
        _, said = self._tcpdump.communicate(timeout=_SETTLE_S)
        if re.search(rb"\b0 packets dropped", said) is None:
            raise OSError(f"tcpdump lost packets: {said.decode()}")
        found = self.connections()
        self._earlier.update(found)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tcpdump.poll() is None:
            self._tcpdump.kill()
            self._tcpdump.communicate()

    def _are_over(self, client_ports: tuple[int, ...]) -> bool:
        found = self.connections()
        return all(port in found and found[port].is_over for port in client_ports)
