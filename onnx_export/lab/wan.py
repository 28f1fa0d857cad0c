"""The way to the internet: packets between router and internet, each delayed as its far end's distance demands."""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import time
from typing import TYPE_CHECKING

from . import sandbox

if TYPE_CHECKING:
    from .plan import Plan

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_LOSS = 0.0005
_MAX_WAITING = 20_000


def _attach(namespace: str) -> int:
    sandbox.join(namespace)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"wan", _IFF_TUN_NO_PI))
    return tun


def run(plan: Plan, end: float) -> None:
    """Carry packets both ways until `end` (epoch seconds); 3 to 90 ms one way by address, some jitter, little loss."""
    rng = random.Random(f"wan/{plan.seed}")
    far = {bytes(map(int, a.split("."))): rng.choice([0.003, 0.006, 0.012, 0.03, 0.09]) * rng.uniform(0.7, 1.3)
           for a in plan.internet}  # fmt: skip
    router, internet = _attach(plan.gateway.name), _attach(plan.one("internet").name)
    other = {router: internet, internet: router}
    waiting: list[tuple[float, int, int, bytes]] = []
    last: dict[bytes, float] = {}
    count = 0
    while (now := time.time()) < end:
        timeout = min(0.5, max(0.0, waiting[0][0] - now)) if waiting else 0.5
        for tun in select.select([router, internet], [], [], timeout)[0]:
            try:
                packet = os.read(tun, 65535)
            except BlockingIOError:
                continue
            if packet[0] >> 4 != 4 or rng.random() < _LOSS or len(waiting) >= _MAX_WAITING:
                continue
            pair = packet[12:20]
            delay = far.get(packet[16:20]) or far.get(packet[12:16]) or 0.01
            # jitter must not turn packets of one pair around: real paths rarely do
            due = max(time.time() + delay * (1 + 0.15 * rng.random()), last.get(pair, 0.0))
            if len(last) >= _MAX_WAITING:
                last.clear()
            last[pair] = due
            count += 1
            heapq.heappush(waiting, (due, count, other[tun], packet))
        now = time.time()
        while waiting and waiting[0][0] <= now:
            _, _, tun, packet = heapq.heappop(waiting)
            try:
                os.write(tun, packet)
            except OSError:  # queue full: the packet is lost, as on a real link
                continue
