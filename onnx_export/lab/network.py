"""Hosts as network namespaces on one bridge a segment, a router between, and a tap that sees every frame once."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import sandbox
from .roles import SEGMENTS

if TYPE_CHECKING:
    from .plan import Host, Plan

SWITCH = "switch"
TAP = "tap1"  # in the switch's namespace: where a capture or a Zeek listens
_OFFLOADS = "tx off rx off tso off gso off gro off"
_NO_IPV6 = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
# one-way wide-area link between router and internet; RFC 3927 addresses, since nobody else uses them
_WAN = ("169.254.77.1", "169.254.77.2")
INTERNET_NETS = ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")


def build(plan: Plan) -> None:
    """Make bridges, tap, router, internet and every host of the plan, each with address, MAC, routes and firewall."""
    lines = [f"ip netns add {SWITCH}", f"ip netns exec {SWITCH} sysctl -qw {_NO_IPV6}",
             f"ip -n {SWITCH} link add tap0 type veth peer name {TAP}"]  # fmt: skip
    lines += [f"ip -n {SWITCH} link set {end} up promisc on" for end in ("tap0", TAP)]
    for segment in SEGMENTS:
        lines += [f"ip -n {SWITCH} link add {segment} type bridge mcast_snooping 0",
                  f"ip -n {SWITCH} link set {segment} up"]  # fmt: skip
    sandbox.sh(" && ".join(lines))
    _add_router(plan)
    ports = []
    for number, host in enumerate(plan.hosts):
        if host.role not in ("gateway", "internet"):
            _add_host(plan, host, f"p{number}")
            ports.append(f"p{number}")
    _add_tap(plan, ports)


def _sysctl(host: Host, forward: int) -> str:
    return (
        f"ip netns exec {host.name} sysctl -qw net.ipv4.ip_default_ttl={host.ttl} net.ipv4.conf.all.rp_filter=0"
        f" net.ipv4.conf.default.rp_filter=0 net.ipv4.ip_local_port_range='{host.ports}' net.ipv4.ip_forward={forward}"
        f" net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0"
        f" net.ipv4.tcp_timestamps={int(host.ttl == 64)} net.ipv6.conf.all.disable_ipv6={int(not host.ipv6)}"
    )


def _cable(name: str, inside: str, port: str, segment: str, mac: str) -> list[str]:
    """A veth from a host's namespace into a segment's bridge, with real checksums and no super-packets."""
    return [
        f"ip -n {SWITCH} link add {port} type veth peer name {inside} address {mac} netns {name}",
        f"ip netns exec {SWITCH} ethtool -K {port} {_OFFLOADS} >/dev/null",
        f"ip netns exec {name} ethtool -K {inside} {_OFFLOADS} >/dev/null",
        f"ip -n {SWITCH} link set {port} master {segment} up",
    ]


def _add_router(plan: Plan) -> None:
    router, internet = plan.gateway, plan.one("internet")
    lines = [f"ip netns add {router.name}", _sysctl(router, 1), f"ip -n {router.name} link set lo up"]
    for number, segment in enumerate(SEGMENTS):
        mac = router.mac[:-2] + f"{number + 1:02x}"
        lines += _cable(router.name, segment, f"r{number}", segment, mac)
        lines += [f"ip -n {router.name} addr add {plan.leg(segment)}/24 brd + dev {segment}",
                  f"ip -n {router.name} link set {segment} up"]  # fmt: skip
    lines += [
        f"ip netns add {internet.name}", _sysctl(internet, 0), f"ip -n {internet.name} link set lo up",
        f"ip -n {router.name} tuntap add wan mode tun", f"ip -n {internet.name} tuntap add wan mode tun",
        f"ip -n {router.name} addr add {_WAN[0]} peer {_WAN[1]} dev wan", f"ip -n {router.name} link set wan up",
        f"ip -n {internet.name} addr add {_WAN[1]} peer {_WAN[0]} dev wan", f"ip -n {internet.name} link set wan up",
        f"ip -n {router.name} route add blackhole default",  # other sites, spoofed sources: nobody is there
    ]  # fmt: skip
    lines += [f"ip -n {internet.name} addr add {address}/32 dev lo" for address in plan.internet]
    lines.append(f"ip -n {internet.name} route add default via {_WAN[0]} src {internet.ip}")
    lines += [f"ip -n {router.name} route add {net} via {_WAN[1]}" for net in INTERNET_NETS]
    sandbox.sh(" && ".join(lines))


def _add_host(plan: Plan, host: Host, port: str) -> None:
    name = host.name
    lines = [f"ip netns add {name}", _sysctl(host, 0), *_cable(name, "eth0", port, host.segment, host.mac)]
    lines += [
        f"ip -n {name} link set lo up",
        f"ip -n {name} addr add {host.ip}/24 brd + dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} route add default via {plan.leg(host.segment)}",
    ]
    if host.open_ports:
        rules = "; ".join([
            "add table inet lab", "add chain inet lab in { type filter hook input priority 0; }",
            "add rule inet lab in ct state established,related accept",
            f"add rule inet lab in tcp dport {{ {', '.join(map(str, host.open_ports))} }} accept",
            "add rule inet lab in meta l4proto { tcp, udp } drop",
        ])  # fmt: skip
        lines.append(f"ip netns exec {name} nft '{rules}'")
    sandbox.sh(" && ".join(lines))


def _add_tap(plan: Plan, ports: list[str]) -> None:
    """Mirror what enters the switch, as an ingress SPAN does: so a routed frame is seen in its first segment only.

    Of what the router sends into a segment only its own words and the internet's count: the rest was seen before.
    """
    legs = ", ".join(f"r{n}" for n in range(len(SEGMENTS)))
    own = ", ".join([*(plan.leg(s) for s in SEGMENTS), *INTERNET_NETS])
    rules = "; ".join([
        "add table netdev tap",
        f"add chain netdev tap hosts {{ type filter hook ingress devices = {{ {', '.join(ports)} }} priority 0; }}",
        "add rule netdev tap hosts dup to tap0",
        f"add chain netdev tap router {{ type filter hook ingress devices = {{ {legs} }} priority 0; }}",
        f"add rule netdev tap router ip saddr {{ {own} }} dup to tap0",
        "add rule netdev tap router ether type arp dup to tap0",
    ])  # fmt: skip
    sandbox.sh(f"ip netns exec {SWITCH} nft '{rules}'")


class Capture:
    """tcpdump on the tap, from construction to `stop`."""

    def __init__(self, path: Path, snaplen: int) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", SWITCH, "tcpdump", "-i", TAP, "-n", "-Z", "root",
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
