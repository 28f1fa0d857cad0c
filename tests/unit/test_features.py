"""Features: what rows and windows say, unset stays unset, and batch borders change nothing."""

import numpy as np
import pytest

from pyad.features import FEATURE_GROUPS, FEATURES, FeatureExtractor
from pyad.row import from_tuples

from .conftest import NAMES, make_rows


def _column(name):
    return FEATURES.index(name)


def _extract(rows, size, **options):
    extractor = FeatureExtractor(**{"max_hosts": 64, **options})
    parts = [extractor.extract(rows.take(slice(i, i + size))) for i in range(0, len(rows), size)]
    return np.concatenate([p.x for p in parts]), np.concatenate([p.stream for p in parts])


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("max_hosts", [8, 64])
def test_batch_borders_change_nothing_even_while_hosts_are_evicted(size, max_hosts):
    rows = make_rows(300, hosts=30)
    whole, streams = _extract(rows, 300, max_hosts=max_hosts)
    pieces, streams_too = _extract(rows, size, max_hosts=max_hosts)
    assert np.array_equal(np.isnan(whole), np.isnan(pieces))
    assert np.nan_to_num(pieces) == pytest.approx(np.nan_to_num(whole), abs=1e-5)
    assert streams.tolist() == streams_too.tolist()


def test_no_address_time_or_port_identity_is_an_input():
    rows = make_rows(200, late_share=0.0)
    shifted = dict(rows.columns)
    shifted["ts"] = shifted["ts"] + 86400 * 400
    whole, _ = _extract(rows, 64)
    later, _ = _extract(type(rows)(shifted, rows.source), 64)
    assert np.nan_to_num(later) == pytest.approx(np.nan_to_num(whole), abs=2e-3)
    assert not any("orig_h" in f or "resp_h" in f or f == "ts" for f in FEATURES)


def test_what_a_log_lacks_is_unset_not_zero():
    base = from_tuples(
        ("ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto"),
        [(1.0, "10.0.0.1", 1000, "10.0.0.2", 80, "tcp")],
        "x",
    )
    x = FeatureExtractor(max_hosts=8).extract(base).x[0]
    for group in ("counters", "mac", "service", "history"):
        assert np.isnan(x[list(FEATURE_GROUPS[group])]).all(), group
    assert np.isnan(x[_column("orig_bytes")])
    assert np.isfinite(x[_column("orig_conns_60s")])


def test_a_scan_shows_as_fan_out_and_failures():
    tuples = [
        (1000.0 + i * 0.01, f"C{i}", "10.0.0.1", 40000 + i, f"10.0.1.{i + 1}", 22, "tcp", None, 0.0, 0, 0, "S0", "S", 1,
         44, 0, 0, True, True, None, 0)
        for i in range(30)
    ]  # fmt: skip
    x = FeatureExtractor(max_hosts=64).extract(from_tuples(NAMES, tuples, "x")).x
    assert x[-1, _column("orig_failed_share_60s")] == pytest.approx(1.0)
    assert np.expm1(x[-1, _column("orig_peers_60s")]) > 18
    assert x[-1, _column("orig_new_pair_share_60s")] > 0.95
    assert x[-1, _column("pair_is_new")] == 1.0


def test_fan_in_shows_at_the_responder():
    tuples = [
        (1000.0 + i * 0.01, f"C{i}", f"10.9.{i}.7", 40000, "10.0.1.1", 443, "tcp", None, 0.0, 0, 0, "S0", "S", 1, 44, 0,
         0, True, True, None, 0)
        for i in range(25)
    ]  # fmt: skip
    x = FeatureExtractor(max_hosts=64).extract(from_tuples(NAMES, tuples, "x")).x
    assert np.expm1(x[-1, _column("resp_sources_5s")]) > 12
    assert np.expm1(x[-1, _column("orig_conns_60s")]) == pytest.approx(1.0, abs=0.01)


def test_a_regular_beacon_has_little_gap_deviation():
    def beacon(jitter):
        rng = np.random.default_rng(3)
        t = np.cumsum(60.0 * np.exp(rng.normal(0, jitter, 40)))
        tuples = [
            (float(v), f"C{i}", "10.0.0.1", 40000, "203.0.113.5", 443, "tcp", "ssl", 0.5, 500, 900, "SF", "ShADadFf", 9,
             900, 9, 1400, True, False, None, 0)
            for i, v in enumerate(t)
        ]  # fmt: skip
        x = FeatureExtractor(max_hosts=8).extract(from_tuples(NAMES, tuples, "x")).x
        return x[-1, _column("pair_gap_deviation")]

    assert beacon(0.01) < 0.05
    assert beacon(1.5) > 0.5


def test_long_connections_add_only_what_is_new_and_count_once():
    def row(partial, total, t):
        return (0.0, "Clong", "10.0.0.1", 40000, "10.0.0.2", 104, "tcp", None, t, total, 0, "S1", "ShAD", 5, 900, 5,
                500, True, True, None, partial)  # fmt: skip

    x = (
        FeatureExtractor(max_hosts=8)
        .extract(from_tuples(NAMES, [row(1, 1000, 1.0), row(2, 1500, 1.1), row(0, 1600, 1.2)], "x"))
        .x
    )
    assert np.expm1(x[-1, _column("orig_conns_600s")]) == pytest.approx(1.0, abs=0.01)
    assert np.expm1(x[-1, _column("orig_orig_bytes_600s")]) == pytest.approx(1600, rel=0.01)


def test_mac_changes_and_addresses_per_mac_are_seen():
    def row(i, host, mac):
        return (100.0 + i, f"C{i}", host, 40000, "10.0.0.200", 80, "tcp", None, 0.1, 1, 1, "SF", "ShADadFf", 5, 400, 5,
                400, True, True, mac, 0)  # fmt: skip

    tuples = [
        row(0, "10.0.0.1", "02:00:00:00:00:01"),
        row(1, "10.0.0.1", "02:00:00:00:00:66"),
        row(2, "10.0.0.1", None),
    ]
    tuples += [row(3 + i, f"10.0.0.{10 + i}", "02:00:00:00:00:66") for i in range(6)]
    x = FeatureExtractor(max_hosts=64).extract(from_tuples(NAMES, tuples, "x")).x
    assert x[0, _column("mac_changes_600s")] == 0
    assert np.expm1(x[1, _column("mac_changes_600s")]) == pytest.approx(1.0)
    assert np.isnan(x[2, _column("mac_changes_600s")])
    assert np.expm1(x[-1, _column("mac_addresses_600s")]) == pytest.approx(7, rel=0.35)


def test_an_empty_batch_is_an_empty_matrix():
    features = FeatureExtractor(max_hosts=8).extract(make_rows(3).take(slice(0, 0)))
    assert features.x.shape == (0, len(FEATURES))


def _scan_rows(pairs, start=1000.0, step=0.001, state="SF", local=True):
    """One TCP connection per (originator, responder, VLAN) of `pairs`."""
    tuples = [
        (start + i * step, f"C{start}-{i}", orig, 40000, resp, 443, "tcp", "ssl", 0.0, 500, 900, state, "ShADadFf", 9,
         900, 9 if state == "SF" else 0, 1400, local, local, None, 0, vlan)
        for i, (orig, resp, vlan) in enumerate(pairs)
    ]  # fmt: skip
    return from_tuples((*NAMES, "vlan"), tuples, "x")


def _new_share(extractor, rows):
    return extractor.extract(rows).x[:, _column("pair_is_new")].mean()


def test_many_clients_of_one_server_keep_their_pairs_apart():
    clients = [(f"10.{i >> 8}.{i & 255}.9", "10.200.0.1", None) for i in range(2000)]
    extractor = FeatureExtractor(max_hosts=8000)
    assert _new_share(extractor, _scan_rows(clients)) == 1.0
    # 12,000 places for protected pairs: chance makes about one in six share a place, an uneven hash many more.
    assert _new_share(extractor, _scan_rows(clients, start=2000.0)) < 0.22


def test_a_spoofed_flood_does_not_make_known_pairs_new():
    clients = [(f"10.0.1.{i}", "10.0.0.1", None) for i in range(1, 101)]
    extractor = FeatureExtractor(max_hosts=1000)
    extractor.extract(_scan_rows(clients))
    known = _new_share(extractor, _scan_rows(clients, start=1010.0))
    spoofed = [(f"{30 + i % 90}.{i >> 8 & 255}.{i & 255}.7", "10.0.0.1", None) for i in range(20_000)]
    extractor.extract(_scan_rows(spoofed, start=1020.0, state="S0", local=False))
    assert _new_share(extractor, _scan_rows(clients, start=1050.0)) == pytest.approx(known, abs=0.02)


def test_the_same_pair_on_another_vlan_is_new():
    pairs = [("10.0.0.1", "10.0.0.2", 1), ("10.0.0.1", "10.0.0.2", 1), ("10.0.0.1", "10.0.0.2", 2)]
    x = FeatureExtractor(max_hosts=64).extract(_scan_rows(pairs)).x
    assert x[:, _column("pair_is_new")].tolist() == [1.0, 0.0, 1.0]


def test_rows_with_and_without_macs_mixed_and_late_do_not_depend_on_batch_borders():
    rows = make_rows(400, seed=4, hosts=10, late_share=0.3)
    macs = rows.columns["orig_l2_addr"]
    macs[np.random.default_rng(1).random(400) < 0.9] = None
    whole, _ = _extract(rows, 400, max_hosts=8)
    for size in (1, 13):
        pieces, _ = _extract(rows, size, max_hosts=8)
        assert np.nan_to_num(pieces) == pytest.approx(np.nan_to_num(whole), abs=1e-5)
