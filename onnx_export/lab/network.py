"""Hosts as network namespaces on one Linux bridge, and tcpdump on that bridge."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import sandbox

if TYPE_CHECKING:
    from .plan import Host, Plan

SWITCH = "switch"
_OFFLOADS = "tx off rx off tso off gso off gro off"


def build(plan: Plan) -> None:
    """Make the switch and every host of the plan, with its address, MAC, routes and firewall."""
    sandbox.sh(
        f"ip netns add {SWITCH} && ip netns exec {SWITCH} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
        f" net.ipv6.conf.default.disable_ipv6=1"
        f" && ip -n {SWITCH} link add br0 type bridge mcast_snooping 0 && ip -n {SWITCH} link set br0 up"
    )
    for number, host in enumerate(plan.hosts):
        _add_host(plan, host, f"p{number}")


def _add_host(plan: Plan, host: Host, port: str) -> None:
    name = host.name
    lines = [
        f"ip netns add {name}",
        f"ip -n {SWITCH} link add {port} type veth peer name eth0 address {host.mac} netns {name}",
        f"ip netns exec {SWITCH} ethtool -K {port} {_OFFLOADS} >/dev/null",
        f"ip netns exec {name} ethtool -K eth0 {_OFFLOADS} >/dev/null",
        f"ip netns exec {name} sysctl -qw net.ipv4.ip_default_ttl={host.ttl} net.ipv4.conf.all.rp_filter=0"
        f" net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0"
        f" net.ipv4.ip_local_port_range='{host.ports}' net.ipv4.ip_forward=0"
        f" net.ipv4.tcp_timestamps={int(host.ttl == 64)} net.ipv6.conf.all.disable_ipv6={int(not host.ipv6)}",
        f"ip -n {SWITCH} link set {port} master br0 up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} addr add {host.ip}/24 brd + dev eth0",
        f"ip -n {name} link set eth0 up",
    ]
    lines += [f"ip -n {name} route replace {net} dev eth0 src {host.ip}" for net in plan.subnets]
    if host is plan.gateway:
        # the "internet": documentation addresses that end here, so nothing is forwarded anywhere
        lines += [f"ip -n {name} addr add {address}/32 dev lo" for address in plan.internet]
        lines += [f"ip -n {name} addr add {a}/24 dev eth0" for a in plan.gateway_addresses if a != host.ip]
        lines += [f"ip -n {name} route add blackhole default"]
    else:
        lines += [f"ip -n {name} route add default via {plan.gateway.ip} dev eth0 onlink"]
    if host.open_ports:
        rules = "; ".join([
            "add table inet lab", "add chain inet lab in { type filter hook input priority 0; }",
            "add rule inet lab in ct state established,related accept",
            f"add rule inet lab in tcp dport {{ {', '.join(map(str, host.open_ports))} }} accept",
            "add rule inet lab in meta l4proto { tcp, udp } drop",
        ])  # fmt: skip
        lines.append(f"ip netns exec {name} nft '{rules}'")
    sandbox.sh(" && ".join(lines))


class Capture:
    """tcpdump on the bridge, from construction to `stop`."""

    def __init__(self, path: Path, snaplen: int) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", SWITCH, "tcpdump", "-i", "br0", "-n", "-Z", "root",
             "-s", str(snaplen), "-B", "32768", "-w", str(self._part)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(1.0)
        if self._process.poll() is not None:
            raise RuntimeError(f"lab: tcpdump did not start: {self._process.communicate()[1]}")

    def stop(self) -> str:
        """Flush, put the file in its place, and return tcpdump's own count line."""
        time.sleep(1.5)
        self._process.send_signal(signal.SIGINT)
        said = self._process.communicate(timeout=30)[1]
        self._part.rename(self.path)
        return " ".join(said.split("\n")[-4:]).strip()
