"""The attack variants: enough of them, no setting in two groups, and each names a function that takes it."""

import inspect
from collections import Counter, defaultdict

import pytest

from onnx_export.lab import attacks, floods, guessing, recon, standins, web_attacks
from onnx_export.lab.catalog_brute import BRUTE_FORCE
from onnx_export.lab.catalog_floods import FLOODS
from onnx_export.lab.catalog_recon import RECON
from onnx_export.lab.catalog_web import WEB_ATTACK
from onnx_export.lab.labels import _CLASSES
from onnx_export.lab.variant import Variant

TABLES = {"recon": RECON, "brute_force": BRUTE_FORCE, "flood": FLOODS, "web_attack": WEB_ATTACK}
EVERY = [v for table in TABLES.values() for v in table]
LEAST = {"train": 8, "validation": 3, "test": 3}


@pytest.mark.parametrize("label", TABLES)
def test_each_class_has_enough_variants_in_each_group(label: str) -> None:
    counted = Counter(v.group for v in TABLES[label])
    assert set(counted) == set(LEAST)
    assert all(counted[group] >= least for group, least in LEAST.items())
    assert {v.label for v in TABLES[label]} == {label}
    assert label in _CLASSES


def test_no_setting_is_used_twice() -> None:
    seen = Counter((v.run, repr(sorted(v.with_.items()))) for v in EVERY)
    assert [key for key, times in seen.items() if times > 1] == []


def test_every_detail_is_said_once() -> None:
    assert [d for d, times in Counter(v.detail for v in EVERY).items() if times > 1] == []


@pytest.mark.parametrize("variant", EVERY, ids=lambda v: v.detail)
def test_a_variant_can_run(variant: Variant) -> None:
    rooms = (attacks, standins, recon, guessing, floods, web_attacks)
    found = [getattr(room, variant.run, None) for room in rooms]
    functions = [f for room, f in zip(rooms, found, strict=True) if f is not None and f.__module__ == room.__name__]
    assert len(functions) == 1
    inspect.signature(functions[0]).bind(None, list(variant.to), **variant.with_)
    assert 0 < variant.seconds <= 120
    assert variant.sources >= 1
    assert variant.shape in {"direct", "spoofed", "amplified"}


def test_a_compromised_host_labels_only_a_port() -> None:
    named = defaultdict(list)
    for v in EVERY:
        if v.by != "attacker" and v.shape == "direct" and "resp_port" not in v.match:
            named[v.by].append(v.detail)
    assert not named
