"""Which state slot a host owns: a bounded directory whose protected part spoofed floods cannot wash out."""

from __future__ import annotations

import ipaddress
import socket
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan

import numpy as np
from numpy.typing import NDArray

from pyad.networks import PRIVATE_NETS
from pyad.windows import mix

# (first, last) of the private networks per address family; they decide "local" where a row does not say.
_PRIVATE = {
    version: tuple((int(n[0]), int(n[-1])) for n in map(ipaddress.ip_network, PRIVATE_NETS) if n.version == version)
    for version in (4, 6)
}
# Share of the slots that hosts on probation may never push into.
_PROTECTED_SHARE = 0.75


@lru_cache(maxsize=1024)  # the few group addresses of a network; hosts have a slot, which remembers
def address_traits(address: str) -> tuple[int, bool, bool]:
    """(32-bit hash, whether it may hold state, whether it is private) of an address in text form.

    Multicast, broadcast and unspecified addresses hold no state. Text that is no address holds state like a host,
    so that odd logs still work.
    """
    digest = zlib.crc32(address.encode("utf-8", "surrogatepass"))
    try:
        version = 6 if ":" in address else 4
        packed = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address)
    except (OSError, ValueError):
        return digest, True, False
    value = int.from_bytes(packed)
    if version == 6:
        stateful = packed[0] != 0xFF and value != 0
    else:
        stateful = 0 < value < 0xE0000000 or 0xF0000000 <= value < 0xFFFFFFFF
    return digest, stateful, any(first <= value <= last for first, last in _PRIVATE[version])


@dataclass(frozen=True)
class Assignment:
    """Slots of one batch, one entry per row; slot -1 means "holds no state".

    *_fresh: the slot's state in that role (originator, responder) begins at this row.
    *_hash: 32-bit hash of the address. orig_life: 32-bit hash of the originator's (VLAN, address) and of which of its
    lives in the directory this is. orig_protected: whether the originator is protected.
    """

    orig_slot: NDArray[np.int64]
    orig_fresh: NDArray[np.bool_]
    orig_hash: NDArray[np.uint32]
    orig_life: NDArray[np.uint32]
    orig_protected: NDArray[np.bool_]
    resp_slot: NDArray[np.int64]
    resp_fresh: NDArray[np.bool_]
    resp_hash: NDArray[np.uint32]


class HostDirectory:
    """(VLAN, address) → slot, least recently seen first out, in two parts.

    An address enters on probation and is protected once it is local and has answered or completed a connection.
    Probation may use the slots that protected hosts leave free, never theirs; the part that protects is at most
    three quarters of `max_hosts`, so both parts always have room. A host unseen for `host_idle_s` starts afresh.
    """

    # What a snapshot holds of it.
    remembers = (
        *("_probation", "_protected", "_free", "_last_seen", "_fresh_orig", "_fresh_resp"),
        *("_is_protected", "_is_private", "_hashes", "_lives", "evicted"),
    )

    def __init__(self, max_hosts: int, host_idle_s: float) -> None:
        if max_hosts < 8:
            raise ValueError(f"max_hosts must be at least 8, not {max_hosts}")
        self.max_hosts = max_hosts
        self.host_idle_s = host_idle_s
        self._max_protected = int(max_hosts * _PROTECTED_SHARE)
        self.clear()

    def clear(self) -> None:
        """Forget every host."""
        self._probation: OrderedDict[object, int] = OrderedDict()
        self._protected: OrderedDict[object, int] = OrderedDict()
        self._free = 0  # slots at and above this index were never used
        self._last_seen = array("d", bytes(8 * self.max_hosts))
        self._fresh_orig = bytearray(self.max_hosts)
        self._fresh_resp = bytearray(self.max_hosts)
        self._is_protected = bytearray(self.max_hosts)
        self._is_private = bytearray(self.max_hosts)
        self._hashes = array("I", bytes(array("I").itemsize * self.max_hosts))
        self._lives = array("I", bytes(array("I").itemsize * self.max_hosts))
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    @property
    def protected(self) -> int:
        """How many hosts are protected now."""
        return len(self._protected)

    def assign(
        self,
        orig: Sequence[str],
        resp: Sequence[str],
        vlan: Sequence[float] | None,
        time: Sequence[float],
        orig_proves: Sequence[int],
        resp_proves: Sequence[int],
    ) -> Assignment:
        """Slots of a batch, row by row in order (originator first), so that batch borders change nothing.

        vlan: per row, NaN where untagged, or None where no row is tagged; time: s since epoch; *_proves: whether the
        row protects that address: 0 no, 1 yes (it is known to be local), 2 yes if its address is private.
        """
        touch, hashes, lives = self._touch, self._hashes, self._lives
        fresh_orig, fresh_resp, is_protected = self._fresh_orig, self._fresh_resp, self._is_protected
        out: list[int] = []  # eight numbers a row, flat: NumPy reads one list far faster than many tuples
        take = out.extend
        tags = [None] * len(orig) if vlan is None else [None if isnan(v) else int(v) for v in vlan]
        for o, r, tag, t, proves_o, proves_r in zip(orig, resp, tags, time, orig_proves, resp_proves, strict=True):
            slot_o = touch(o, tag, t, proves_o)
            if slot_o >= 0:
                hash_o, begins_o, protected = hashes[slot_o], fresh_orig[slot_o], is_protected[slot_o]
                life = lives[slot_o] if tag is None else lives[slot_o] ^ tag << 20
                fresh_orig[slot_o] = 0
            else:
                hash_o, begins_o, protected, life = address_traits(o)[0], 0, 0, 0
            slot_r = touch(r, tag, t, proves_r)
            if slot_r >= 0:
                hash_r, begins_r = hashes[slot_r], fresh_resp[slot_r]
                fresh_resp[slot_r] = 0
            else:
                hash_r, begins_r = address_traits(r)[0], 0
            take((slot_o, begins_o, hash_o, slot_r, begins_r, hash_r, life, protected))
        table = np.fromiter(out, np.int64, len(out)).reshape(-1, 8)
        return Assignment(
            orig_slot=table[:, 0],
            orig_fresh=table[:, 1] != 0,
            orig_hash=table[:, 2].astype(np.uint32),
            orig_life=mix(table[:, 2].astype(np.uint32) ^ mix(table[:, 6].astype(np.uint32))),
            orig_protected=table[:, 7] != 0,
            resp_slot=table[:, 3],
            resp_fresh=table[:, 4] != 0,
            resp_hash=table[:, 5].astype(np.uint32),
        )

    def _touch(self, address: str, tag: int | None, t: float, proves: int) -> int:
        key = address if tag is None else (tag, address)
        slot = self._protected.get(key)
        if slot is not None:
            self._protected.move_to_end(key)
        else:
            slot = self._probation.get(key)
            if slot is None:
                digest, stateful, private = address_traits(address)
                if not stateful:
                    return -1
                slot = self._new_slot()
                self._probation[key] = slot
                self._hashes[slot], self._is_private[slot] = digest, private
                self._begin(slot)
                self._last_seen[slot] = t
            else:
                self._probation.move_to_end(key)
            if proves == 1 or (proves == 2 and self._is_private[slot]):
                del self._probation[key]
                self._protected[key] = slot
                self._is_protected[slot] = 1
                if len(self._protected) > self._max_protected:
                    old, old_slot = self._protected.popitem(last=False)
                    self._probation[old] = old_slot
                    self._is_protected[old_slot] = 0
        idle = t - self._last_seen[slot]
        if idle > self.host_idle_s:
            self._begin(slot)
        if idle > 0:
            self._last_seen[slot] = t
        return slot

    def _new_slot(self) -> int:
        if self._free < self.max_hosts:
            self._free += 1
            return self._free - 1
        # Probation is never empty here: protected hosts hold three quarters of the slots at most.
        _, slot = self._probation.popitem(last=False)
        self.evicted += 1
        return slot

    def _begin(self, slot: int) -> None:
        self._lives[slot] = (self._lives[slot] + 1) & 0xFFFFF
        self._fresh_orig[slot] = 1
        self._fresh_resp[slot] = 1
