"""Rows to the model's input: what each row says and what its hosts' windows say at that moment, as float32."""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pyad import host_windows, row_features
from pyad.host_windows import Events, HostWindows
from pyad.hosts import HostDirectory
from pyad.row import Rows

FEATURES: tuple[str, ...] = (*row_features.NAMES, *host_windows.NAMES)
# Part of every bundle: change REVISION whenever a feature's meaning changes under the same name.
_REVISION = 2
FEATURE_HASH = hashlib.sha256("\n".join((str(_REVISION), *FEATURES)).encode()).hexdigest()[:16]

# Features that a kind of log lacks as a whole, or that tempt to shortcuts; training drops such groups at random.
_GROUPS: dict[str, tuple[str, ...]] = {
    "counters": ("counter_*",),
    "mac": ("mac_*",),
    "service": ("service_*",),
    "history": ("hist_*",),
    "ports": ("resp_port_*", "orig_port_system"),
    "sizes": ("duration", "*_bytes", "*_pkts", "*_per_pkt", "*_per_s", "byte_balance"),
    "short": ("*_5s",),
    "middle": ("*_60s",),
    "long": ("*_600s",),
    "ages": ("*_age", "*_gap", "pair_is_new"),
}
FEATURE_GROUPS: dict[str, tuple[int, ...]] = {
    group: tuple(i for i, name in enumerate(FEATURES) if any(fnmatchcase(name, p) for p in patterns))
    for group, patterns in _GROUPS.items()
}
# Connections that are being followed over several rows; beyond this the oldest counts as new again.
_MAX_LONG_CONNS = 65536


@dataclass(frozen=True)
class Features:
    """The model's input for a batch.

    x: float32 (rows, features), raw values, NaN unset. stream: int64 (rows,), the state slot of the originator, or
    -1 where it holds no state. fresh: bool (rows,), the stream's state begins at zero at this row.
    """

    x: NDArray[np.float32]
    stream: NDArray[np.int64]
    fresh: NDArray[np.bool_]


class FeatureExtractor:
    """Holds the hosts and windows of one timeline; `extract` is its only step."""

    def __init__(self, max_hosts: int = 50_000, host_idle_s: float = 86_400.0) -> None:
        self.hosts = HostDirectory(max_hosts, host_idle_s)
        self.reset()

    def reset(self) -> None:
        """Forget all hosts: a new timeline begins."""
        self.hosts.clear()
        self._windows = HostWindows(self.hosts.max_hosts)
        self._long: OrderedDict[str, tuple[float, float, float]] = OrderedDict()

    def extract(self, rows: Rows) -> Features:
        """Features of a batch in row order; splitting the batch anywhere gives the same values (to rounding)."""
        time = rows.end_time()
        states = rows.text("conn_state")
        tcp = rows.text("proto") == "tcp"
        failed_state = _among(states, row_features.FAILED_TCP_STATES)
        completed = _among(states, row_features.COMPLETED_STATES)
        answered = rows.number("resp_pkts") > 0
        vlan = rows.columns.get("vlan")
        hosts = self.hosts.assign(
            rows.text("id.orig_h").tolist(),
            rows.text("id.resp_h").tolist(),
            None if vlan is None or np.isnan(vlan).all() else vlan.tolist(),
            time.tolist(),
            _proves(rows.number("local_orig"), completed),
            _proves(rows.number("local_resp"), answered),
        )
        # UDP and ICMP without an answer fail like an unanswered SYN; one-way protocols look so to everyone.
        failed = np.where(tcp, failed_state, ~answered & (rows.text("proto") != "arp"))
        conns, orig_bytes, resp_bytes = self._new_since_last_row(rows)
        events = Events(
            hosts=hosts,
            time=time,
            conns=conns,
            failed=failed * conns,
            orig_bytes=orig_bytes,
            resp_bytes=resp_bytes,
            port_hash=_port_hashes(rows),
            mac_hash=_text_hashes(rows.text("orig_l2_addr")),
        )
        x = np.concatenate([row_features.row_features(rows), self._windows.update(events)], axis=1)
        return Features(x.astype(np.float32), hosts.orig_slot, hosts.orig_fresh)

    def _new_since_last_row(self, rows: Rows) -> tuple[NDArray[np.float64], ...]:
        conns = np.ones(len(rows))
        orig = np.nan_to_num(rows.number("orig_bytes"))
        resp = np.nan_to_num(rows.number("resp_bytes"))
        partial = rows.columns.get("partial")
        if not self._long and (partial is None or not (partial > 0).any()):
            return conns, orig, resp
        orig, resp = orig.copy(), resp.copy()
        goes_on = np.zeros(len(rows), dtype=np.bool_) if partial is None else partial > 0
        for i, uid in enumerate(rows.text("uid").tolist()):
            earlier = self._long.pop(uid, None)
            totals = (1.0, float(orig[i]), float(resp[i]))
            if earlier is not None:
                conns[i] = 0.0
                orig[i] = max(totals[1] - earlier[1], 0.0)
                resp[i] = max(totals[2] - earlier[2], 0.0)
            if goes_on[i] and uid is not None:
                self._long[uid] = totals
                if len(self._long) > _MAX_LONG_CONNS:
                    self._long.popitem(last=False)
        return conns, orig, resp


def _among(texts: NDArray[np.object_], members: frozenset[str]) -> NDArray[np.bool_]:
    return np.fromiter(map(members.__contains__, texts.tolist()), np.bool_, len(texts))


def _proves(local: NDArray[np.float64], shown: NDArray[np.bool_]) -> list[int]:
    # See HostDirectory.assign: 1 where the row says the address is local, 2 where it does not say.
    verdict: list[int] = np.where(shown, np.where(np.isnan(local), 2, local == 1), 0).tolist()
    return verdict


def _port_hashes(rows: Rows) -> NDArray[np.uint32]:
    protos = _text_hashes(rows.text("proto"))
    return protos ^ (np.nan_to_num(rows.number("id.resp_p")).astype(np.uint32) * np.uint32(0x9E3779B1))


def _text_hashes(texts: NDArray[np.object_]) -> NDArray[np.uint32]:
    return np.fromiter(map(_text_hash, texts.tolist()), np.uint32, len(texts))


@lru_cache(maxsize=65536)
def _text_hash(text: str | None) -> int:
    """32-bit hash, 0 for unset and never 0 otherwise."""
    return 0 if text is None else zlib.crc32(text.encode("utf-8", "surrogatepass")) | 1
