"""Link types, VLANs, tunnels, fragments, IPv6 headers and ICMP, down to the connection inside."""

import struct

import pytest

from pyad.flow.capture import LINK_TYPES
from pyad.flow.decode import decode
from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions
from tests.packets import (
    A6,
    B6,
    MAC_A,
    MAC_B,
    START,
    A,
    B,
    arp,
    ether,
    icmp,
    ip,
    ipv4,
    ipv6,
    one,
    packed,
    run,
    tcp_segment,
    udp,
    udp_datagram,
)  # fmt: skip

INNER = ipv4("192.168.7.1", "192.168.7.2", 17, udp_datagram(5000, 6000, b"hello"))
INNER6 = ipv6(A6, B6, 17, udp_datagram(5000, 6000, b"hello"))


def wifi(payload: bytes, flags: int = 1) -> bytes:
    head = bytes([0x08, flags, 0, 0]) + MAC_B + MAC_A + MAC_B + b"\0\0"
    return head + b"\xaa\xaa\x03\0\0\0\x08\0" + payload


LINKS = {
    "Ethernet": (1, ether(INNER)),
    "802.1Q": (1, ether(b"\0\x07\x08\0" + INNER, 0x8100)),
    "QinQ": (1, ether(b"\0\x07\x81\0\0\x08\x08\0" + INNER, 0x88A8)),
    "802.3 SNAP": (1, ether(b"\xaa\xaa\x03\0\0\0\x08\0" + INNER, 8 + len(INNER)) + b"\0" * 6),
    "MPLS": (1, ether(b"\0\x01\0\x40" + b"\0\x02\x01\x40" + INNER, 0x8847)),
    "PPPoE": (1, ether(b"\x11\0\0\x01" + struct.pack(">HH", len(INNER) + 2, 0x21) + INNER, 0x8864)),
    "FabricPath": (1, MAC_B + MAC_A + b"\x89\x03" + b"\0\0" + ether(INNER)),
    "VN-Tag": (1, ether(b"\0\0\0\0\x81\0" + b"\0\x07\x08\0" + INNER, 0x8926)),
    "PBB": (1, ether(b"\0\0\0\0" + ether(INNER), 0x88E7)),
    "raw IP": (101, INNER),
    "raw IPv4": (228, INNER),
    "loopback, little endian": (0, b"\x02\0\0\0" + INNER),
    "loopback, big endian": (0, b"\0\0\0\x02" + INNER),
    "OpenBSD loopback": (108, b"\0\0\0\x02" + INNER),
    "cooked v1": (113, b"\0\0\0\x01\0\x06" + MAC_A + b"\0\0\x08\0" + INNER),
    "cooked v2": (276, b"\x08\0\0\0\0\0\0\x01\0\x01\0\x06" + MAC_A + b"\0\0" + INNER),
    "PPP": (9, b"\xff\x03\0\x21" + INNER),
    "PPP without framing": (9, b"\0\x21" + INNER),
    "PPP with MPLS": (9, b"\xff\x03\x02\x81" + b"\0\x02\x01\x40" + INNER),
    "PPP serial": (50, b"\xff\x03\0\x21" + INNER),
    "Cisco HDLC": (104, b"\x0f\0\x08\0" + INNER),
    "802.11": (105, wifi(INNER)),
    "802.11 radiotap": (127, b"\0\0\x08\0\0\0\0\0" + wifi(INNER)),
    "NFLOG": (239, b"\x02\0\0\0" + b"\x08\0\x01\0\0\0\0\0" + struct.pack("<HH", 4 + len(INNER), 9) + INNER),
}


@pytest.mark.parametrize("name", LINKS)
def test_link_layers_lead_to_the_same_connection(name):
    link_type, frame = LINKS[name]
    row = one([(START, frame)], link_type)
    assert (row["id.orig_h"], row["id.resp_p"], row["orig_ip_bytes"]) == ("192.168.7.1", 6000, 33)
    if "cooked" in name:
        assert row["orig_l2_addr"] == "02:00:00:00:00:01"
        assert "resp_l2_addr" not in row
    assert row.get("vlan") == (7 if name in ("802.1Q", "QinQ", "VN-Tag") else None)


@pytest.mark.parametrize("name", LINKS)
def test_link_layers_cut_short_are_counted_not_fatal(name):
    link_type, frame = LINKS[name]
    for size in range(len(frame)):
        engine = FlowEngine(FlowOptions())
        engine.feed(link_type, [(START, len(frame), frame[:size])])
        engine.flush()
        assert len(engine.rows) + sum(engine.skipped.values()) >= 1


def test_every_link_type_named_is_decoded():
    assert all(decode(link_type, bytes(64)) != "unknown link type" for link_type in LINK_TYPES)


def vxlan(frame: bytes) -> bytes:
    return b"\x08\0\0\0\0\0\x01\0" + frame


OUTER = {
    "GRE": (47, b"\0\0\x08\0" + INNER),
    "GRE with checksum, key and sequence": (47, b"\xb0\0\x08\0" + bytes(12) + INNER),
    "GRE with an Ethernet frame": (47, b"\0\0\x65\x58" + ether(INNER)),
    "GRE PPTP": (47, b"\x30\x01\x88\x0b\0\0\0\0" + bytes(4) + b"\xff\x03\0\x21" + INNER),
    "ERSPAN I": (47, b"\0\0\x88\xbe" + ether(INNER)),
    "ERSPAN II": (47, b"\x10\0\x88\xbe" + bytes(4) + bytes(8) + ether(INNER)),
    "ERSPAN III": (47, b"\x10\0\x22\xeb" + bytes(4) + bytes(12) + ether(INNER)),
    "IP in IP": (4, INNER),
}
OVER_UDP = {
    "VXLAN": (4789, vxlan(ether(INNER))),
    "GTPv1": (2152, b"\x30\xff" + struct.pack(">HI", len(INNER), 1) + INNER),
    "AYIYA": (5072, b"\x41\x52\x11\x04\0\0\0\0" + bytes(16 + 20) + INNER),
    "Geneve": (6081, b"\0\0\x65\x58\0\0\x01\0" + ether(INNER)),
    "GRE over UDP": (4754, b"\0\0\x08\0" + INNER),
}


@pytest.mark.parametrize("name", OUTER)
def test_tunnels_over_ip_show_only_what_is_inside(name):
    proto, payload = OUTER[name]
    row = one([(START, ether(ipv4(A, B, proto, payload)))])
    assert (row["id.orig_h"], row["id.resp_p"], row["orig_ip_bytes"]) == ("192.168.7.1", 6000, 33)


@pytest.mark.parametrize("name", OVER_UDP)
def test_tunnels_over_udp_show_both_connections(name):
    port, payload = OVER_UDP[name]
    rows = run([(START, udp(A, 50000, B, port, payload))])
    assert {(r["id.orig_h"], r["id.resp_p"]) for r in rows} == {(A, port), ("192.168.7.1", 6000)}


@pytest.mark.parametrize("name", [*OUTER, *OVER_UDP])
def test_tunnels_cut_short_are_counted_not_fatal(name):
    if name in OUTER:
        proto, payload = OUTER[name]
        frames = [ether(ipv4(A, B, proto, payload[:size])) for size in range(len(payload))]
    else:
        port, payload = OVER_UDP[name]
        frames = [udp(A, 50000, B, port, payload[:size]) for size in range(len(payload))]
    for frame in frames:
        assert all(r["id.resp_p"] != 6000 for r in run([(START, frame)])) or name in ("VXLAN", "Geneve")


def test_6in4_and_teredo():
    assert one([(START, ether(ipv4(A, B, 41, INNER6)))])["id.orig_h"] == A6
    teredo = ipv6("2001:0:4136:e378:8000:63bf:3fff:fdd2", B6, 17, udp_datagram(5000, 6000, b"hello"))
    for header in (b"", b"\0\0\xaa\xaa\x01\x02\x03\x04", b"\0\x01\0\0" + bytes(9) + b"\0\0\xaa\xaa\x01\x02\x03\x04"):
        rows = run([(START, udp(A, 50000, B, 3544, header + teredo))])
        assert {r["id.resp_p"] for r in rows} == {3544, 6000}
    rows = run([(START, udp(A, 50000, B, 40000, teredo))])  # by its look, on any port
    assert {r["id.resp_p"] for r in rows} == {40000, 6000}


def test_tunnels_in_tunnels_end_somewhere():
    packet = INNER
    for _ in range(9):
        packet = ipv4(A, B, 4, packet)
    engine = FlowEngine(FlowOptions())
    engine.feed(101, [(START, len(packet), packet)])
    engine.flush()
    assert engine.rows == []
    assert engine.skipped == {"too many tunnels around a packet": 1}


def test_a_connection_that_changes_tunnels_is_marked_after_five_changes():
    frames = [vxlan(ether(ipv4("10.9.0.1", "10.9.0.2", 17, udp_datagram(5, 6, b"x")))) for _ in range(8)]
    rows = run([(START + i, udp(A, 50000 + i % 2, B, 4789, frame)) for i, frame in enumerate(frames)])
    inner = [r for r in rows if r["id.resp_p"] == 6]
    assert [r["history"] for r in inner] == ["DX"]


# ---- ICMP ---------------------------------------------------------------------------------------------------------


def test_icmp_request_and_reply_are_one_connection():
    row = one([(START, icmp(A, B, 8)), (START + 1, icmp(B, A, 0)), (START + 2, icmp(A, B, 8))])
    assert (row["proto"], row["id.orig_p"], row["id.resp_p"]) == ("icmp", 8, 0)
    assert (row["orig_pkts"], row["resp_pkts"], row["orig_bytes"], row["resp_bytes"]) == (2, 1, 64, 32)
    assert row["conn_state"] == "OTH"
    assert "history" not in row


def test_icmp_errors_go_one_way():
    rows = run([(START, icmp(A, B, 3, 3)), (START, icmp(B, A, 3, 3)), (START, icmp(A, B, 3, 1))])
    assert sorted((r["id.orig_h"], r["id.orig_p"], r["id.resp_p"]) for r in rows) == [(A, 3, 1), (A, 3, 3), (B, 3, 3)]


def test_icmpv6_pairs():
    rows = run(
        [(START, icmp(A6, B6, 128)), (START, icmp(B6, A6, 129)), (START, icmp(A6, B6, 135)), (START, icmp(B6, A6, 136))]
    )
    assert sorted((r["id.orig_h"], r["id.orig_p"], r["id.resp_p"], r["resp_pkts"]) for r in rows) == [
        (A6, 128, 129, 1), (A6, 135, 136, 1),
    ]  # fmt: skip


def test_icmp_cut_by_the_snapshot_length_is_not_counted():
    frame = icmp(A, B, 8)
    engine = FlowEngine(FlowOptions())
    engine.feed(1, [(START, len(frame), frame[:50])])
    engine.flush()
    assert next(engine.take().records())["orig_pkts"] == 0


def test_other_protocols_are_unknown_transport():
    row = one(
        [(START, ether(ipv4(A, "224.0.0.1", 2, b"\x11" * 8))), (START + 1, ether(ipv4(A, "224.0.0.1", 2, b"\x11" * 8)))]
    )
    assert (row["proto"], row["id.orig_p"], row["orig_pkts"], row["conn_state"]) == ("unknown_transport", 0, 2, "OTH")


# ---- fragments ----------------------------------------------------------------------------------------------------


def fragments(size: int = 3000, step: int = 1480, ident: int = 7) -> list[bytes]:
    whole = udp_datagram(5000, 6000, bytes(size))
    parts = []
    for at in range(0, len(whole), step):
        more = 0x2000 if at + step < len(whole) else 0
        parts.append(ether(ipv4(A, B, 17, whole[at : at + step], ident, more | at // 8)))
    return parts


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 0, 1, 1, 2)])
def test_ipv4_fragments_make_one_packet(order):
    parts = fragments()
    row = one([(START + i, parts[k]) for i, k in enumerate(order)])
    assert (row["orig_pkts"], row["orig_ip_bytes"], row["id.resp_p"]) == (1, 3028, 6000)


def test_incomplete_fragments_give_no_connection():
    engine = FlowEngine(FlowOptions())
    engine.feed(1, [(START, len(p), p) for p in fragments()[1:]])
    engine.flush()
    assert engine.rows == []
    assert engine.skipped["fragments never completed"] == 1


def test_fragments_wait_only_so_long():
    parts = fragments()
    assert run([(START, parts[0]), (START, parts[1]), (START + 301, parts[2])]) == []


def test_fragments_in_memory_are_bounded():
    engine = FlowEngine(FlowOptions(max_fragment_bytes=1 << 20))
    for ident in range(5000):
        frame = fragments(ident=ident)[0]
        engine.feed(1, [(START, len(frame), frame)])
    assert engine.fragments.held <= 1 << 20
    assert engine.fragments.dropped > 4000


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ipv6_fragments(order):
    whole = udp_datagram(5000, 6000, bytes(2000))
    parts = []
    for at, more in ((0, 1), (1440, 0)):
        header = struct.pack(">BBHI", 17, 0, at | more, 99)
        parts.append(ether(ipv6(A6, B6, 17, whole[at : at + 1440] if more else whole[at:], header, first=44)))
    row = one([(START + i, parts[k]) for i, k in enumerate(order)])
    assert (row["orig_pkts"], row["orig_ip_bytes"]) == (1, 2048)


# ---- IPv6 headers -------------------------------------------------------------------------------------------------


def test_ipv6_extension_headers_are_skipped():
    hop = bytes([60, 0]) + bytes(6)
    dest = bytes([17, 1]) + b"\x01\x0c" + bytes(12)
    row = one([(START, ether(ipv6(A6, B6, 17, udp_datagram(5, 6, b"x"), hop + dest, first=0)))])
    assert (row["id.resp_p"], row["orig_ip_bytes"]) == (6, 40 + 8 + 16 + 9)


def test_routing_header_and_home_address_change_the_ends():
    final, home = "fd00::99", "fd00::77"
    routing = bytes([17, 2, 0, 1, 0, 0, 0, 0]) + packed(final)
    row = one([(START, ether(ipv6(A6, B6, 17, udp_datagram(5, 6, b"x"), routing, first=43)))])
    assert row["id.resp_h"] == final
    mobile = bytes([17, 2, 1, 2, 0, 0, 201, 16]) + packed(home)
    row = one([(START, ether(ipv6(A6, B6, 17, udp_datagram(5, 6, b"x"), mobile, first=60)))])
    assert row["id.orig_h"] == home


@pytest.mark.parametrize("first", [50, 59, 135])
def test_ipv6_without_a_transport_header_is_no_connection(first):
    assert run([(START, ether(ipv6(A6, B6, 0, b"\x3b" + bytes(15), first=first)))]) == []


# ---- ARP ----------------------------------------------------------------------------------------------------------


def test_a_changed_mac_is_a_row_of_its_own():
    evil = bytes.fromhex("02000000dead")
    packets = [arp(A, MAC_A), arp(A, MAC_A, op=1), arp(A, evil), arp(A, evil), arp(B, MAC_B), arp(A, MAC_A)]
    rows = run([(START + i, p) for i, p in enumerate(packets)])
    assert [(r["ts"] - START, r["orig_l2_addr"], r["resp_l2_addr"]) for r in rows] == [
        (2, "02:00:00:00:de:ad", "02:00:00:00:00:01"), (5, "02:00:00:00:00:01", "02:00:00:00:de:ad"),
    ]  # fmt: skip
    for row in rows:
        assert (row["proto"], row["id.orig_h"], row["id.resp_h"], row["id.orig_p"], row["partial"]) == (
            "arp",
            A,
            A,
            0,
            0,
        )
        assert "history" not in row
        assert "conn_state" not in row


def test_arp_probes_and_broken_arp_are_no_news():
    broken = ether(b"\0\x06" + bytes(26), 0x0806)
    assert (
        run([(START, arp("0.0.0.0", MAC_A)), (START, arp("0.0.0.0", MAC_B)), (START, broken), (START, broken[:30])])
        == []
    )


def test_arp_memory_is_bounded():
    engine = FlowEngine(FlowOptions(max_arp_hosts=100))
    engine.feed(1, [(START, 42, arp(f"10.1.{i >> 8}.{i & 255}", MAC_A)) for i in range(1000)])
    assert len(engine.arp) == 100


def test_same_address_in_two_vlans_is_two_hosts():
    tagged = arp(A, MAC_B)
    tagged = tagged[:12] + b"\x81\0\0\x07" + tagged[12:]
    assert run([(START, arp(A, MAC_A)), (START, tagged)]) == []


def test_ip_header_faults_are_counted_by_reason():
    good = ipv4(A, B, 6, tcp_segment(1, 2, "S", 1, 0))
    frames = {
        "truncated IP header": ether(good)[:30],
        "unknown IP version": ether(b"\x55" + good[1:], 0x0800),
        "IP packet longer than its frame": ether(good[:2] + b"\x40\0" + good[4:]),
        "bad IP header length": ether(b"\x43" + good[1:]),
        "truncated TCP header": ether(ip(A, B, 6, bytes(12))),
        "truncated UDP header": ether(ip(A, B, 17, bytes(7))),
        "truncated ICMP header": ether(ip(A, B, 1, bytes(7))),
        "IP without a transport header": ether(ip(A, B, 59, bytes(7))),
        "not IP": ether(bytes(60), 0x88CC),
    }
    for reason, frame in frames.items():
        engine = FlowEngine(FlowOptions())
        engine.feed(1, [(START, len(frame), frame)])
        assert engine.skipped == {reason: 1}
