"""Three network namespaces, ``server -- router -- client``, that exist as long as this process.

A namespace has no name that another run could meet or that a crash could leave behind: a process
keeps it, and ends when the pipe to this one closes. What runs inside is killed with this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

MTU_BYTES: Final = 1500
SERVER: Final = {socket.AF_INET: "10.99.1.1", socket.AF_INET6: "fd99:1::1"}
CLIENT: Final = {socket.AF_INET: "10.99.2.1", socket.AF_INET6: "fd99:2::1"}
_ROUTER_TO_SERVER: Final = ("10.99.1.2", "fd99:1::2")
_ROUTER_TO_CLIENT: Final = ("10.99.2.2", "fd99:2::2")
_END_MAC: Final = "02:00:00:00:00:01"
_ROUTER_MAC: Final = "02:00:00:00:00:02"
_SYSTEM_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
_ENVIRONMENT: Final = {**os.environ, "PATH": _SYSTEM_PATH}
_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace and what is done inside it.

    Attributes:
        clients_over: Ports of clients whose connections were captured to their end.
    """

    def __init__(self) -> None:
        self.clients_over: set[int] = set()
        self._keeper = subprocess.Popen(
            ["unshare", "--net", "--", "sh", "-c", "echo && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_ENVIRONMENT,
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"\n":
            raise OSError("unshare could not make a network namespace")
        self.keeper_pid = self._keeper.pid
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a short command to its end, and return what it printed."""
        done = subprocess.run(
            self._inside(command),
            input=stdin,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            check=False,
        )
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program that is killed when the thread that starts it ends."""
        tied = ("setpriv", "--pdeathsig", "KILL", "--", *command)
        return subprocess.Popen(self._inside(tied), env=_ENVIRONMENT, **options)

    def socket(self, family: socket.AddressFamily) -> socket.socket:
        """Return a TCP socket that lives here, usable from any thread."""
        with self._entered():
            return socket.socket(family, socket.SOCK_STREAM)

    def close(self) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.stdout.close()
        self._keeper.wait()

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.keeper_pid}/ns/net", "--", *command]

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        with (
            open("/proc/thread-self/ns/net", "rb") as home,  # noqa: PTH123 - not a file to read
            open(f"/proc/{self.keeper_pid}/ns/net", "rb") as there,  # noqa: PTH123 - as above
        ):
            _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())


class Bed:
    """A server and a client that reach each other through a router that loses packets.

    Args:
        real_packets: Give the links no more than a segment at once, so that each packet of a
            capture is one that travels; otherwise TCP hands over up to 64 KiB as one.
    """

    def __init__(self, *, real_packets: bool = True) -> None:
        self._shape: tuple[int | None, bool] = (None, False)
        with contextlib.ExitStack() as made:
            self.server = self._namespace(made)
            self.router = self._namespace(made)
            self.client = self._namespace(made)
            self._link(self.server, SERVER, "server0", _ROUTER_TO_SERVER)
            self._link(self.client, CLIENT, "client0", _ROUTER_TO_CLIENT)
            for name in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
                self.router.run("sysctl", "-qw", f"net.{name}=1")
            if real_packets:
                for namespace in (self.server, self.client):
                    namespace.run("ip", "link", "set", "eth0", "gso_max_segs", "1")
            self._made = made.pop_all()

    def lose(self, per_mille: int) -> None:
        """Drop so many of a thousand packets at random, in both directions."""
        self._forward(f"numgen random mod 1000 < {per_mille} drop" if per_mille else "")

    def lose_first_syn_acks(self, count: int) -> None:
        """Drop the first ``count`` SYN-ACKs, then none."""
        syn_ack = "tcp flags & (syn | ack) == (syn | ack)"
        self._forward(f"{syn_ack} limit rate 1/day burst {count} packets drop")

    def lose_everything(self) -> None:
        """Let nothing through any more."""
        self._forward("drop")

    def shape(self, mbit: int | None, *, at_server: bool = False) -> None:
        """Send at most so much to the client; ``at_server``: the server's own queue drops."""
        places = ((self.router, "client0"), (self.server, "eth0"))
        if (mbit, at_server) == self._shape:
            return
        self._shape = (mbit, at_server)
        for namespace, device in places:
            with contextlib.suppress(OSError):
                namespace.run("tc", "qdisc", "del", "dev", device, "root")
        if mbit is not None:
            namespace, device = places[at_server]
            rate = ("rate", f"{mbit}mbit", "burst", "6kb", "limit", "64kb")
            namespace.run("tc", "qdisc", "add", "dev", device, "root", "tbf", *rate)

    def close(self) -> None:
        self._made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _namespace(self, made: contextlib.ExitStack) -> Namespace:
        namespace = Namespace()
        made.callback(namespace.close)
        return namespace

    def _link(
        self,
        end: Namespace,
        addresses: dict[socket.AddressFamily, str],
        device: str,
        gateways: tuple[str, str],
    ) -> None:
        router = ("address", _ROUTER_MAC, "netns", str(self.router.keeper_pid))
        peer = ("type", "veth", "peer", "name", device, *router)
        end.run("ip", "link", "add", "eth0", "address", _END_MAC, "mtu", str(MTU_BYTES), *peer)
        here = (addresses[socket.AF_INET], addresses[socket.AF_INET6])
        there = gateways
        for namespace, name, mac in ((end, "eth0", _ROUTER_MAC), (self.router, device, _END_MAC)):
            namespace.run("ip", "addr", "add", f"{here[0]}/24", "dev", name)
            namespace.run("ip", "addr", "add", f"{here[1]}/64", "dev", name, "nodad")
            namespace.run("ip", "link", "set", name, "up")
            # A new link answers no question for a neighbour in its first seconds.
            for address in there:
                namespace.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", name)
            here, there = there, here
        for gateway in gateways:
            end.run("ip", "route", "add", "default", "via", gateway)

    def _forward(self, rule: str) -> None:
        chain = f"type filter hook forward priority 0; policy accept\n{rule}"
        table = f"table inet loss {{\nchain forward {{\n{chain}\n}}\n}}\n"
        self.router.run("nft", "-f", "-", stdin=f"table inet loss\ndelete table inet loss\n{table}")


def _set_namespace(descriptor: int) -> None:
    # os.setns() came with Python 3.12. A thread's namespace is that of the sockets it makes.
    if sys.version_info >= (3, 12):
        os.setns(descriptor, _CLONE_NEWNET)
    elif _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
