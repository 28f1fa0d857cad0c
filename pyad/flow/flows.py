"""What every flow has: its key and counters; UDP, ICMP and other flows need nothing more."""

from __future__ import annotations

# The tunnels around a packet, outermost first: a pair of addresses, or the carrying connection's number.
Encap = tuple[object, ...]

LIMIT_REACHED = 0x400  # bit of hist_seen for the letter X
_MAX_ENCAP_CHANGES = 5


class Flow:
    """An open connection. `key` is src + dst + ports of its first packet; `flipped`: its originator is dst.

    last: time of the last packet; inact_s, inact_due: inactivity timeout and when it is looked at next.
    """

    __slots__ = (
        "dead",
        "encap",
        "encap_changes",
        "flipped",
        "hist_seen",
        "history",
        "inact_due",
        "inact_s",
        "key",
        "last",
        "macs",
        "missed",
        "n",
        "order",
        "partial",
        "partial_pkts",
        "proto",
        "service",
        "source",
        "ts",
        "vlan",
    )

    def __init__(self, key: bytes, proto: str, ts: float) -> None:
        self.key = key
        self.proto = proto
        self.ts = self.last = ts
        self.history = ""
        self.hist_seen = self.missed = self.partial = self.partial_pkts = self.n = 0
        self.flipped = self.dead = False
        self.macs = b""
        self.vlan = -1
        self.service = ""
        self.source = ""
        self.encap: Encap = ()
        self.encap_changes = 0
        self.inact_s = self.inact_due = 0.0
        self.order = 0

    def __lt__(self, other: Flow) -> bool:
        """The elder flow's timer runs first where two are due at once."""
        return self.order < other.order

    def unlink(self) -> None:
        """Let go of the ends, which refer back to the flow, so that all of it is freed at once."""

    def limit_reached(self) -> None:
        """An analyzer gave up on this flow: Zeek's letter X."""
        if not self.hist_seen & LIMIT_REACHED:
            self.hist_seen |= LIMIT_REACHED
            self.history += "X"

    def change_encap(self, encap: Encap) -> None:
        """A packet came through other tunnels than the one before."""
        self.encap = encap
        if self.encap_changes >= _MAX_ENCAP_CHANGES:
            self.limit_reached()
        else:
            self.encap_changes += 1


class Side:
    """The packets of one direction of a flow without connection states; `size` is -1 until a packet was seen."""

    __slots__ = ("flow", "head", "ip_bytes", "is_orig", "pkts", "size")

    def __init__(self, flow: DatagramFlow, is_orig: bool) -> None:
        self.flow = flow
        self.is_orig = is_orig
        self.pkts = self.ip_bytes = self.head = 0
        self.size = -1


class DatagramFlow(Flow):
    """A UDP, ICMP or other flow; `b` exists once the other side has answered.

    watch: what its payloads are looked at for (a tunnel, DNS, NTP); seen: that watcher's own memory.
    tail: what its key in the table has beyond `key`.
    """

    __slots__ = ("a", "b", "seen", "tail", "watch")

    def __init__(self, key: bytes, proto: str, ts: float) -> None:
        super().__init__(key, proto, ts)
        self.a = Side(self, True)
        self.b: Side | None = None
        self.watch = self.seen = 0
        self.tail = b""

    def unlink(self) -> None:
        """See Flow.unlink."""
        del self.a
        self.b = None

    def flip(self) -> Side:
        """Swap the roles in the middle of a packet, as DNS and NTP do; the side that the packet then counts for.

        Zeek leaves the payload sizes with the roles and counts the packet for the role it came in with.
        """
        b = self.b = self.b or Side(self, not self.a.is_orig)
        a = self.a
        a.is_orig, b.is_orig = b.is_orig, a.is_orig
        a.size, b.size = b.size, a.size
        self.flipped = not self.flipped
        self.history += "^"
        return a if a.is_orig else b
