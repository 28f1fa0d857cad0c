"""The host directory: bounded, least recently seen first out, and not to be washed out by spoofed sources."""

import pytest

from pyad.hosts import HostDirectory, address_traits


def _assign(directory, pairs, time=0.0, orig_proves=0, resp_proves=0, vlan=None):
    n = len(pairs)
    return directory.assign(
        [o for o, _ in pairs], [r for _, r in pairs], vlan, [time] * n, [orig_proves] * n, [resp_proves] * n
    )


def test_same_address_keeps_its_slot_and_is_fresh_once_per_role():
    d = HostDirectory(16, 3600)
    a = _assign(d, [("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")])
    assert a.orig_slot[0] == a.orig_slot[1] == a.resp_slot[2]
    assert a.orig_fresh.tolist() == [True, False, True]
    assert a.resp_fresh.tolist() == [True, False, True]


def test_the_same_address_on_two_vlans_is_two_hosts():
    d = HostDirectory(16, 3600)
    a = _assign(d, [("10.0.0.1", "10.0.0.9")] * 3, vlan=[10.0, 20.0, float("nan")])
    assert len(set(a.orig_slot.tolist())) == 3


@pytest.mark.parametrize("address", ["224.0.0.251", "255.255.255.255", "0.0.0.0", "ff02::fb", "::"])
def test_group_and_unspecified_addresses_hold_no_state(address):
    a = _assign(HostDirectory(16, 3600), [(address, address)])
    assert a.orig_slot[0] == a.resp_slot[0] == -1


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True),
        ("172.32.0.1", False),
        ("8.8.8.8", False),
        ("fd00::1", True),
        ("2001:db8::1", True),
        ("2600::1", False),
    ],
)
def test_private_addresses_are_known(address, private):
    assert address_traits(address)[2] is private


def test_spoofed_flood_pushes_out_probation_only():
    d = HostDirectory(100, 3600)
    monitors = [(f"10.0.0.{i}", "10.0.0.100") for i in range(1, 20)]
    before = _assign(d, monitors, orig_proves=2, resp_proves=1)
    for i in range(50):
        _assign(d, [(f"{20 + i}.{j}.1.1", "10.0.0.100") for j in range(100)])
    after = _assign(d, monitors)
    assert after.orig_slot.tolist() == before.orig_slot.tolist()
    assert not after.orig_fresh.any()
    assert len(d) <= 100
    assert d.evicted > 4000


def test_a_public_address_is_never_protected_by_answering():
    d = HostDirectory(100, 3600)
    _assign(d, [("8.8.8.8", "9.9.9.9")], orig_proves=2, resp_proves=2)
    assert d.protected == 0


def test_an_evicted_slot_starts_fresh_for_its_next_owner():
    d = HostDirectory(8, 3600)
    first = _assign(d, [(f"20.0.0.{i}", "224.0.0.1") for i in range(9)])
    assert first.orig_slot[8] == first.orig_slot[0]
    assert first.orig_fresh[8]


def test_an_idle_host_begins_anew_in_its_own_slot():
    d = HostDirectory(8, 60)
    a = _assign(d, [("10.0.0.1", "10.0.0.2")], time=0.0)
    b = _assign(d, [("10.0.0.1", "10.0.0.2")], time=100.0)
    assert b.orig_fresh[0]
    assert a.orig_slot[0] == b.orig_slot[0]


def test_too_few_hosts_is_refused():
    with pytest.raises(ValueError, match="max_hosts"):
        HostDirectory(2, 60)
