import numpy as np
import pytest

from pyad.allow_list import AllowEntry, AllowList
from pyad.verdict import DECISION_NAMES
from tests.fakes import row, rows_of


def entry(**given) -> AllowEntry:
    return AllowEntry.from_mapping({"name": "e", **given})


def matches(e: AllowEntry, decision="recon", **given) -> bool:
    decided = np.array([DECISION_NAMES.index(decision)], dtype=np.int8)
    return AllowList([e]).match(rows_of(row(1.0, **given)), decided)[0] == 0


@pytest.mark.parametrize(
    ("given", "hit", "miss"),
    [
        ({"orig": "10.0.0.0/30"}, {"orig": "10.0.0.1"}, {"orig": "10.0.0.9"}),
        ({"resp": ["192.168.0.0/16", "2001:db8::/32"]}, {"resp": "2001:db8::1"}, {"resp": "10.0.0.1"}),
        ({"either": "10.9.9.9"}, {"resp": "10.9.9.9"}, {}),
        ({"either": "10.9.9.9"}, {"orig": "10.9.9.9"}, {}),
        ({"ports": [104, 2575]}, {"port": 104}, {"port": 80}),
        ({"ports": "10000/tcp"}, {"port": 10000}, {"port": 10000, "proto": "udp"}),
        ({"ports": ["53/udp", "80"]}, {"port": 53, "proto": "udp"}, {"port": 53}),
        ({"ports": ["53/udp", "80"]}, {"port": 80, "proto": "udp"}, {"port": 443}),
        ({"services": "dicom"}, {"service": "ssl,DICOM"}, {"service": None}),
        ({"classes": "recon"}, {"decision": "recon"}, {"decision": "flood"}),
        ({"orig": "10.0.0.0/8", "ports": 80}, {"port": 80}, {"port": 81}),
    ],
)
def test_conditions(given, hit, miss):
    assert matches(entry(**given), **hit)
    assert not matches(entry(**given), **miss)


def test_undecided_rows_are_not_allowed_and_the_first_entry_names_itself():
    entries = [entry(ports=80), AllowEntry.from_mapping({"name": "f", "orig": "10.0.0.0/8"})]
    rows = rows_of(row(1.0), row(2.0), row(3.0, port=81))
    assert AllowList(entries).match(rows, np.array([0, 1, 1], dtype=np.int8)).tolist() == [-1, 0, 1]


def test_text_that_is_no_address_is_in_no_subnet():
    assert not matches(entry(orig="0.0.0.0/0"), orig="not an address")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"orig": "10.0.0.0/8"}, "name"),
        ({"name": "x"}, "everything"),
        ({"name": "x", "orgi": "10.0.0.0/8"}, "orgi"),
        ({"name": "x", "orig": "10.0.0.0/99"}, "10.0.0.0/99"),
        ({"name": "x", "orig": []}, "empty"),
        ({"name": "x", "ports": [70000]}, "70000"),
        ({"name": "x", "ports": ["80/tpc"]}, "80/tpc"),
        ({"name": "x", "ports": [True]}, "True"),
        ({"name": "x", "ports": [-1]}, "-1"),
        ({"name": "x", "classes": ["benign"]}, "benign"),
        ("x", "table"),
    ],
)
def test_wrong_entries_are_told(value, told):
    with pytest.raises(ValueError, match=told):
        AllowEntry.from_mapping(value)
