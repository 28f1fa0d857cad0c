"""Spoofing, c2, exfiltration and exploit variants: enough of each, kept apart by group, naming real functions."""

import importlib
from collections import Counter

import pytest

from onnx_export.lab.attacks import MAX_SECONDS
from onnx_export.lab.catalog_c2 import C2, CAMPAIGNS
from onnx_export.lab.catalog_exfiltration import EXFILTRATION
from onnx_export.lab.catalog_exploit import EXPLOIT
from onnx_export.lab.catalog_spoofing import SPOOFING
from onnx_export.lab.variant import Variant

CATALOGUES = {"spoofing": SPOOFING, "c2": C2, "exfiltration": EXFILTRATION, "exploit": EXPLOIT}
LEAST = {"train": 6, "validation": 3, "test": 3}
STAGES = [v for campaign in CAMPAIGNS for v in campaign]
EVERY = [v for catalogue in CATALOGUES.values() for v in catalogue] + STAGES
ROOMS = ("attacks", "spoofing", "impostor", "implants", "leaks", "manipulation")
SHAPES = {"direct", "arp", "relay", "inflight", "host", "redirect"}


def _setting(v: Variant) -> str:
    return repr((v.run, sorted(v.with_.items()), v.to))


@pytest.mark.parametrize("label", CATALOGUES)
def test_every_group_has_enough_variants(label: str) -> None:
    found = Counter(v.group for v in CATALOGUES[label])
    assert set(found) == set(LEAST)
    assert all(found[group] >= least for group, least in LEAST.items())
    assert {v.label for v in CATALOGUES[label]} == {label}


def test_settings_and_details_are_never_shared() -> None:
    groups: dict[str, set[str]] = {}
    for v in EVERY:
        groups.setdefault(_setting(v), set()).add(v.group)
    assert all(len(g) == 1 for g in groups.values())
    assert len({v.detail for v in EVERY}) == len(EVERY)


def test_each_group_has_slow_and_fast_ones() -> None:
    for catalogue in (C2, EXFILTRATION, EXPLOIT):
        for group in LEAST:
            periods = [v.with_["period"] for v in catalogue if v.group == group and "period" in v.with_]
            assert max(periods) >= 3 * min(periods)


@pytest.mark.parametrize("v", EVERY, ids=lambda v: v.detail)
def test_a_variant_names_a_function_and_its_parameters(v: Variant) -> None:
    rooms = [importlib.import_module(f"onnx_export.lab.{room}") for room in ROOMS]
    found = [f for room in rooms if (f := getattr(room, v.run, None)) is not None and f.__module__ == room.__name__]
    assert len(found) == 1
    names = found[0].__code__.co_varnames[: found[0].__code__.co_argcount]
    assert names[:2] == ("ctx", "targets")
    assert set(v.with_) <= set(names[2:])
    assert 0 < v.seconds <= min(200, MAX_SECONDS)
    assert v.shape in SHAPES
    assert v.by == "attacker" or v.match, "a compromised host's honest traffic must be told apart"


def test_a_campaign_has_one_host_and_three_labels() -> None:
    assert {c[0].group for c in CAMPAIGNS} == set(LEAST)
    for campaign in CAMPAIGNS:
        assert len({(v.by, v.group) for v in campaign}) == 1
        assert [v.label for v in campaign] == ["c2", "c2", "recon", "brute_force"]


def test_campaigns_for_tests_probe_other_ports_than_those_of_training_most() -> None:
    often: dict[str, set[int]] = {}
    for campaign in CAMPAIGNS:
        probes = campaign[2]
        assert set(probes.match["resp_port"]) == set(probes.with_["ports"])
        often.setdefault(probes.group, set()).add(probes.with_["ports"][0])
    assert not often["train"] & often["test"]
