"""Addresses that change their MAC where nobody attacks: two cards in one network, failover, doubled addresses, phones.

ARP goes by the recorder's clock, not the hospital's: these take seconds of it, so that a compressed day is not full
of them.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from typing import TYPE_CHECKING

from . import sandbox

if TYPE_CHECKING:
    from .context import Context
    from .plan import Host

_EVERYBODY = b"\xff" * 6
_PAIRS = (("pacs", "fhir"), ("ris", "integration"), ("files", "updates"))  # servers that share an address
_DOUBLED = ("sensor", "printer")  # roles of which two devices were given one address


def _free(ctx: Context, host: Host, salt: str) -> str:
    """An address of a host's segment that nobody has: the same one for everybody who asks with this salt."""
    used = {h.ip for h in ctx.plan.hosts}
    base = host.ip.rsplit(".", 1)[0]
    free = [a for a in (f"{base}.{n}" for n in range(2, 250)) if a not in used]
    return random.Random(f"{ctx.plan.seed}/{salt}").choice(free)


def announce(ctx: Context, address: str, mac: str, times: int = 1, reply: bool = False) -> None:
    """Gratuitous ARP: tell the segment that `address` lives at `mac`, as a request or as a reply."""
    own = bytes.fromhex(mac.replace(":", ""))
    where = socket.inet_aton(address)
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2 if reply else 1) + own + where + b"\0" * 6 + where
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("eth0", 0))
        for number in range(times):
            if number and not _wait(ctx, 0.5):
                return
            try:
                s.send(_EVERYBODY + own + b"\x08\x06" + body.ljust(46, b"\0"))
            except OSError:  # the interface is down just now
                return


def _wait(ctx: Context, seconds: float, jitter: float = 0.3) -> bool:
    return ctx.pause(seconds * ctx.haste, jitter)


def _new_mac(ctx: Context) -> str:
    return "02:" + ":".join(f"{ctx.rng.randrange(256):02x}" for _ in range(5))


def second_card(ctx: Context) -> None:
    """A server with two cards in one segment: each answers for its address, so the answers differ."""
    sandbox.sh(f"ip link add link eth0 name nic2 address {_new_mac(ctx)} type macvlan mode private"
               " && ip link set nic2 up", check=False)  # fmt: skip
    _wait(ctx, 1e9)


def failover(ctx: Context, period: float = 9) -> None:
    """Two servers and one address that moves between them, as keepalived moves it, each time announced."""
    pair = next((p for p in _PAIRS if ctx.host.role in p), None)
    if pair is None:
        return
    salt = "+".join(pair)
    first = ctx.plan.one(pair[0])
    if first.segment != ctx.host.segment:
        return
    address, mine = _free(ctx, first, salt), pair.index(ctx.host.role)
    hold = period * random.Random(f"{ctx.plan.seed}/{salt}/hold").uniform(0.6, 1.8)
    last = -1
    while _wait(ctx, 0.3):
        turn = int((time.time() - ctx.begin) / hold)
        if turn != last and turn % 2 == mine:
            sandbox.sh(f"ip addr add {address}/32 dev eth0", check=False)
            announce(ctx, address, ctx.host.mac, ctx.rng.randint(1, 5), reply=ctx.rng.random() < 0.5)
        elif turn != last:
            sandbox.sh(f"ip addr del {address}/32 dev eth0", check=False)
        last = turn


def doubled_address(ctx: Context, period: float = 6) -> None:
    """Two devices were given one address by hand: each answers for it, and now and then claims it."""
    if ctx.host.role not in _DOUBLED or ctx.host not in ctx.plan.role(ctx.host.role)[:2]:
        return
    address = _free(ctx, ctx.host, f"doubled/{ctx.host.role}")
    sandbox.sh(f"ip addr add {address}/32 dev eth0", check=False)
    while _wait(ctx, period * ctx.rng.uniform(0.5, 2)):
        announce(ctx, address, ctx.host.mac, ctx.rng.choice([1, 1, 2]), reply=ctx.rng.random() < 0.3)


def changing_card(ctx: Context, period: float = 40, macs: int = 0) -> None:
    """A device whose MAC changes while its address stays: a phone that draws a new one, a laptop that is docked.

    `macs` is how many it has; 0: always a new one.
    """
    known = [ctx.host.mac, *(_new_mac(ctx) for _ in range(max(0, macs - 1)))]
    number = 0
    while _wait(ctx, period * ctx.rng.uniform(0.4, 1.6)):
        number += 1
        mac = known[number % macs] if macs else _new_mac(ctx)
        sandbox.sh(f"ip link set eth0 address {mac}", check=False)
        announce(ctx, ctx.host.ip, mac, ctx.rng.randint(1, 2), reply=ctx.rng.random() < 0.3)
