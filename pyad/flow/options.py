"""What a site may change about the flow engine: local networks, timeouts (s), partial rows, bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

# Ports that Zeek takes for a server's when it must guess who began a connection (likely_server_ports).
SERVER_PORTS_TCP: frozenset[int] = frozenset(
    {
        *(21, 2811, 22, 25, 587, 53, 79, 80, 81, 631, 1080, 3128, 8000, 8080, 8888),
        *(88, 135, 139, 445, 143, 443, 465, 563, 585, 614, 636, 989, 990, 992, 993, 995, 5223),
        *(502, 514, 1434, 3306, 1883, 3389, 5222, 5269, 6666, 6667, 6668, 6669, 20000),
    }
)
SERVER_PORTS_UDP: frozenset[int] = frozenset(
    {
        *(53, 137, 5353, 5355, 67, 4011, 88, 123, 161, 162, 443, 514, 1812, 3389, 5060, 20000),
        *(2123, 2152, 3544, 4754, 4789, 5072, 6081),  # tunnels
    }
)

# Interactive services keep quiet for long: Zeek waits an hour for them.
PATIENT_PORTS: frozenset[int] = frozenset({21, 22, 23, 513})
PATIENT_SERVICES: frozenset[str] = frozenset({"ssh", "ftp"})


@dataclass(frozen=True)
class Timeouts:
    """Zeek's timers, all in seconds of capture time."""

    tcp_inactivity_s: float = 300.0
    udp_inactivity_s: float = 60.0
    icmp_inactivity_s: float = 60.0
    unknown_inactivity_s: float = 60.0
    dns_session_s: float = 10.0
    patient_inactivity_s: float = 3600.0
    tcp_attempt_s: float = 5.0
    tcp_close_s: float = 5.0
    tcp_linger_s: float = 5.0
    tcp_session_timer_s: float = 6.0
    fragment_s: float = 300.0


@dataclass(frozen=True)
class FlowOptions:
    """Settings of one run of the flow engine.

    local_nets: networks besides the private ones that count as local (CIDR text).
    partial_rows: also emit a row while a connection is still open, first after `long_conn_first_s`,
        then every `long_conn_interval_s`.
    max_flow_bytes: open connections together take about this much memory at most; those that would time out first
        give way, and are counted.
    max_lateness_s: a larger step back in time ends all connections and starts a new timeline.
    """

    local_nets: tuple[str, ...] = ()
    private_nets_are_local: bool = True
    timeouts: Timeouts = field(default_factory=Timeouts)
    partial_rows: bool = True
    long_conn_first_s: float = 60.0
    long_conn_interval_s: float = 300.0
    max_lateness_s: float = 600.0
    max_flow_bytes: int = 192 << 20
    max_fragment_bytes: int = 32 << 20
    max_arp_hosts: int = 65536
    chunk_rows: int = 8192
