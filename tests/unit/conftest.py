"""Shared makers of rows and links for the unit tests."""

from __future__ import annotations

import numpy as np
import pytest

from pyad.row import Rows, from_tuples
from tests.wired import Wired

NAMES = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes",
    "resp_bytes", "conn_state", "history", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "local_orig",
    "local_resp", "orig_l2_addr", "partial",
)  # fmt: skip


def make_rows(n: int, seed: int = 0, hosts: int = 12, macs: bool = True, late_share: float = 0.05) -> Rows:
    """n mixed rows of a few hosts, some of them late, deterministic by seed."""
    rng = np.random.default_rng(seed)
    t = 1_700_000_000.0 + np.cumsum(rng.exponential(0.5, n)) - np.where(rng.random(n) < late_share, 30.0, 0.0)
    tuples = []
    for i in range(n):
        orig = int(rng.integers(hosts))
        state = rng.choice(["SF", "S0", "REJ", "S1", "RSTO"])
        proto = rng.choice(["tcp", "tcp", "udp", "icmp"])
        answered = state not in ("S0",)
        tuples.append((
            float(t[i]), f"C{i}", f"10.0.0.{orig + 1}", int(rng.integers(1024, 60000)),
            rng.choice(["10.0.1.1", "10.0.1.2", "10.0.0.3", "224.0.0.251", "fd00::1"]),
            int(rng.choice([80, 443, 53, 22, 11112])), proto, rng.choice(["http", "dns", None]),
            float(rng.exponential(1.0)), float(rng.integers(0, 5000)), float(rng.integers(0, 5000)), state, "ShADadFf",
            float(rng.integers(1, 20)), float(rng.integers(40, 9000)), float(rng.integers(0, 20)) if answered else 0.0,
            float(rng.integers(0, 9000)), True, True,
            f"02:00:00:00:00:{orig + (1 if rng.random() < 0.02 else 0):02x}" if macs else None, 0,
        ))  # fmt: skip
    return from_tuples(NAMES, tuples, "test")


@pytest.fixture
def rows() -> Rows:
    """600 mixed rows."""
    return make_rows(600)


@pytest.fixture
def wired() -> Wired:
    """A link that has joined."""
    return Wired().connect()
