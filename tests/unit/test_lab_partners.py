"""Honest use of attacked ports, addresses that change honestly: what must not collide with attacks."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from onnx_export.lab import campaign, habits, neighbours, partners
from onnx_export.lab.catalog import BY_CLASS
from onnx_export.lab.plan import make_plan
from onnx_export.lab.roles import ROLES

PLAN = make_plan(7, {}, {})


def context(role: str = "workstation") -> Any:
    host = PLAN.one(role)
    return SimpleNamespace(host=host, plan=PLAN, rng=random.Random(1), haste=6.0)


def test_honest_hosts_never_call_the_attackers_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, called = context(), []
    turns = iter(range(200))
    ctx.pause = lambda *_: next(turns, None) is not None
    monkeypatch.setattr(partners.threading, "Thread", lambda target, args, daemon: called.append(args) or ctx)
    ctx.start = lambda: None
    partners.partner(ctx)
    assert len(called) == 200
    assert {address for _, _, _, address in called}.isdisjoint(PLAN.internet[-5:])


def test_partners_know_every_port_that_attacks_call_outside() -> None:
    outside = {p for ports in partners.FAR.values() for p in ports}
    served = {task["port"] for name, task in ROLES["internet"].tasks if "port" in task and name != "relay_server"}
    assert served - outside == set()


def test_every_attacked_web_page_is_there() -> None:
    for variant in BY_CLASS["web_attack"]:
        port = variant.with_.get("port", 80)
        for role in variant.to:
            tasks = [(name, task.get("port")) for name, task in ROLES[role].tasks]
            there = ("http_server", port) in tasks or (port == 443 and ("fhir_server", None) in tasks)
            assert there, f"{variant.detail}: {role} has no page on {port}"
            assert not ROLES[role].ports or port in ROLES[role].ports


def test_an_address_that_moves_belongs_to_nobody_and_both_know_it() -> None:
    ctx, other = context("pacs"), context("fhir")
    address = neighbours._free(ctx, ctx.host, "pacs+fhir")
    assert address == neighbours._free(other, ctx.host, "pacs+fhir")
    assert address not in {h.ip for h in PLAN.hosts}
    assert ctx.host.segment == other.host.segment


def test_in_compressed_days_it_is_rarer() -> None:
    ctx = context()
    assert habits.rarer(ctx, 60) == 60
    ctx.haste = 144.0
    assert habits.rarer(ctx, 60) == 60 * 144 / 3


def test_every_class_has_recordings_enough() -> None:
    found = Counter((r.scenario, r.group) for r in campaign.recordings())
    assert all(sum(found[label, group] for group in ("train", "validation", "test")) >= 5 for label in BY_CLASS)
    assert found["web_attack", "validation"] >= 2
    assert found["flood", "validation"] >= 2
    seeds = [r.seed for r in campaign.recordings()]
    assert len(set(seeds)) == len(seeds)
