"""What the cost bench makes of captures before Zeek reads them."""

import struct
from ipaddress import ip_address

import pytest

from tests.bench.zeek_cost import START, moved, overlay, pcap_header

MACS = bytes(12)


def ipv4(source: str, target: str) -> bytes:
    return b"\x45" + bytes(11) + ip_address(source).packed + ip_address(target).packed


def arp(source: str, target: str) -> bytes:
    return bytes(14) + ip_address(source).packed + bytes(6) + ip_address(target).packed


def ipv6(source: str, target: str) -> bytes:
    return bytes(8) + ip_address(source).packed + ip_address(target).packed


@pytest.mark.parametrize("tag", [b"", b"\x81\x00\x00\x07", b"\x88\xa8\x00\x01\x81\x00\x00\x07"])
@pytest.mark.parametrize(
    ("kind", "make", "before", "after"),
    [
        (b"\x08\x00", ipv4, ("10.0.1.2", "192.168.1.9"), ("10.0.2.2", "192.168.2.9")),
        (b"\x08\x00", ipv4, ("10.0.1.2", "239.1.1.1"), ("10.0.2.2", "239.1.1.1")),
        (b"\x08\x00", ipv4, ("0.0.1.0", "255.255.255.255"), ("0.0.2.0", "255.255.255.255")),
        (b"\x08\x06", arp, ("10.0.1.2", "10.0.1.3"), ("10.0.2.2", "10.0.2.3")),
        (b"\x86\xdd", ipv6, ("2001:db8:0:1::2", "ff02::1"), ("2001:db8:0:2::2", "ff02::1")),
    ],
)
def test_hosts_move_into_another_network_and_groups_stay(tag, kind, make, before, after):
    frame = MACS + tag + kind + make(*before)
    assert moved(frame, 3) == MACS + tag + kind + make(*after)
    assert moved(frame, 0) == frame


@pytest.mark.parametrize("frame", [b"", MACS, MACS + b"\x81\x00", MACS + b"\x88\xb5" + bytes(50), MACS + b"\x08\x00E"])
def test_a_frame_without_addresses_stays_as_it_is(frame):
    assert moved(frame, 3) == frame


def test_an_overlay_plays_each_capture_so_many_times_and_then_is_silent(tmp_path):
    frame = MACS + b"\x08\x00" + ipv4("10.0.1.2", "10.0.1.9")
    capture = tmp_path / "one.pcap"
    records = [struct.pack("<IIII", 5 + late, 0, len(frame), len(frame)) + frame for late in (0, 1, 500)]
    capture.write_bytes(pcap_header() + b"".join(records))
    packets = read(overlay([capture], tmp_path / "overlay.pcap", times=2).read_bytes())
    ours = [(ts - START, data) for ts, data in packets if data[12:14] == b"\x08\x00"]
    assert ours == [(0, frame), (1, frame), (30, moved(frame, 1)), (31, moved(frame, 1))]  # 500 s is past two minutes
    assert packets[-1][0] - START > 600


def read(pcap: bytes) -> list[tuple[float, bytes]]:
    found, at = [], len(pcap_header())
    while at < len(pcap):
        seconds, micros, size, _ = struct.unpack_from("<IIII", pcap, at)
        found.append((seconds + micros / 1e6, pcap[at + 16 : at + 16 + size]))
        at += 16 + size
    return found
