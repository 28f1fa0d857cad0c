"""Capture files in all their formats, good and bad, one or many, as a source of rows."""

import gzip
import struct

import pytest
import zstandard

from pyad.flow.capture import read_packets
from pyad.flow.options import FlowOptions
from pyad.row import Rows, concat
from pyad.sources.base import ReadReport
from pyad.sources.pcap import read_captures
from tests.packets import START, A, B, Talk, pcap, pcapng, udp
from tests.unit.test_flow_time import mixed

PACKETS = [(START + i, udp(A, 5000 + i, B, 6000, b"x" * i)) for i in range(30)]


def read(tmp_path, data: bytes, name: str = "x.pcap", **options) -> tuple[list[dict], ReadReport]:
    path = tmp_path / name
    path.write_bytes(data)
    report = ReadReport()
    rows = [r for part in read_captures([path], report, FlowOptions(**options)) for r in part.records()]
    return rows, report


FORMATS = {
    "pcap": pcap(PACKETS),
    "big endian": pcap(PACKETS, order=">"),
    "nanoseconds": pcap(PACKETS, nano=True),
    "big endian nanoseconds": pcap(PACKETS, order=">", nano=True),
    "pcapng": pcapng(PACKETS),
    "big endian pcapng": pcapng(PACKETS, order=">"),
    "gzip": gzip.compress(pcap(PACKETS)),
    "gzip in two members": gzip.compress(pcap(PACKETS)[:500]) + gzip.compress(pcap(PACKETS)[500:]),
    "gzip with padding": gzip.compress(pcap(PACKETS)) + bytes(100),
    "pcapng in gzip": gzip.compress(pcapng(PACKETS)),
    "zstd": zstandard.ZstdCompressor().compress(pcap(PACKETS)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path, name):
    rows, report = read(tmp_path, FORMATS[name])
    assert [r["ts"] for r in rows] == pytest.approx([ts for ts, _ in PACKETS], abs=1e-6)
    assert (report.packets, report.files, report.problems, report.rows) == (30, 1, [], 30)
    assert report.bytes == len(FORMATS[name])


def test_old_pcapng_packet_blocks_and_sections(tmp_path):
    data = pcapng(PACKETS[:2])
    frame = PACKETS[2][1]
    stamp = int(PACKETS[2][0] * 1e9)
    body = struct.pack("<HHIIII", 0, 0, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), len(frame)) + frame
    body += bytes(-len(body) % 4)
    old = struct.pack("<II", 2, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    rows, report = read(tmp_path, data + old + pcapng(PACKETS[3:5], order=">"))
    assert (len(rows), report.problems) == (5, [])


def test_a_header_without_packets_is_a_warning(tmp_path):
    rows, report = read(tmp_path, pcap([]))
    assert (rows, report.problems) == ([], [])
    assert "no packets" in report.warnings[0]


GOOD = pcap(PACKETS)
BAD = {
    "empty": (b"", "empty", "byte 0", 0),
    "three bytes": (GOOD[:3], "too short", "byte 0", 0),
    "not a capture": (b"hello world, this is text\n" * 10, "not a capture", "byte 0", 0),
    "header cut": (GOOD[:20], "file header is cut short", "byte 0", 0),
    "record header cut": (GOOD[: 24 + 58 + 7], "record header is cut short", "byte 82", 1),
    "record cut": (GOOD[: 24 + 58 + 20], "packet record is cut short", "byte 82", 1),
    "absurd length": (GOOD[: 24 + 58] + struct.pack("<IIII", 1, 1, 1 << 30, 60), "1073741824 bytes long", "byte 82", 1),
    "unknown link type": (pcap(PACKETS, link_type=147), "unknown link type 147", "byte 0", 0),
    "gzip cut": (gzip.compress(GOOD, mtime=0)[:-30], "gzip file is cut short", "byte", None),
    "gzip damaged": (gzip.compress(GOOD, mtime=0)[:60] + b"\xff" * 40, "gzip data", "byte", None),
    "pcapng cut": (pcapng(PACKETS)[:-10], "pcapng block is cut short", "byte", 29),
    "pcapng absurd": (pcapng(PACKETS) + struct.pack("<III", 6, 1 << 31, 0), "2147483648 bytes long", "byte", 30),
    "pcapng odd section": (pcapng(PACKETS)[:8] + b"abcd" + pcapng(PACKETS)[12:], "section header", "byte 0", 0),
    "pcapng link type": (pcapng(PACKETS, link_type=147), "unknown link type 147", "byte", 0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_captures_say_what_and_where_and_keep_what_came_before(tmp_path, name):
    data, what, where, kept = BAD[name]
    rows, report = read(tmp_path, data)
    assert len(report.problems) == 1
    message = str(report.problems[0])
    assert what in message
    assert where in message
    assert "x.pcap" in message
    assert "\n" not in message
    if kept is not None:
        assert len(rows) == kept


def test_a_missing_file_is_a_problem_and_the_next_is_read(tmp_path):
    good = tmp_path / "good.pcap"
    good.write_bytes(GOOD)
    report = ReadReport()
    rows = concat(list(read_captures([tmp_path / "no.pcap", good], report, FlowOptions())))
    assert len(rows) == 30
    assert "no such file" in str(report.problems[0])


def test_rotated_captures_are_one_stream(tmp_path):
    packets = mixed()
    names = []
    for i in range(0, len(packets), 40):
        path = tmp_path / f"{i:05}.pcap"
        path.write_bytes(pcap(packets[i : i + 40]))
        names.append(path)
    whole = tmp_path / "whole.pcap"
    whole.write_bytes(pcap(packets))
    one = concat(list(read_captures([whole], ReadReport(), FlowOptions())))
    many = concat(list(read_captures(names, ReadReport(), FlowOptions(chunk_rows=5))))
    assert list(one.records()) == list(many.records())
    assert len(set(many.source)) > 1


def test_rows_come_in_chunks_and_name_their_file(tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap([(START, udp(A, 1000 + i, B, 6000, b"x")) for i in range(1000)]))
    parts = list(read_captures([path], ReadReport(), FlowOptions(chunk_rows=100)))
    assert all(isinstance(p, Rows) and len(p) <= 400 for p in parts)
    assert sum(map(len, parts)) == 1000
    assert set(concat(parts).source) == {str(path)}


def test_time_going_back_is_counted_and_told_once(tmp_path):
    packets = [(START + 1000 * k + i, udp(A, 5000 + i, B, 6000, b"x")) for k in (2, 1, 0) for i in range(3)]
    rows, report = read(tmp_path, pcap(packets))
    assert (len(rows), report.timelines, report.skipped["time went back"]) == (9, 3, 2)
    assert len(report.warnings) == 1


def test_undecodable_packets_are_counted_by_reason(tmp_path):
    _, report = read(
        tmp_path, pcap([*PACKETS, (START + 50, b"short"), (START + 51, bytes(12) + b"\x88\xcc" + bytes(46))])
    )
    assert report.skipped == {"truncated Ethernet frame": 1, "not IP": 1}
    assert report.problems == []


def test_progress_counts_stored_bytes(tmp_path):
    path = tmp_path / "x.pcap.gz"
    path.write_bytes(gzip.compress(pcap(PACKETS * 100)))
    seen = []
    assert sum(len(p) for _, p in read_packets(path, seen.append)) == 3000
    assert sum(seen) == path.stat().st_size


def test_highly_compressed_data_is_read_in_pieces(tmp_path):
    data = pcap([(START, bytes(1400))] * 20_000)
    path = tmp_path / "x.pcap.gz"
    path.write_bytes(gzip.compress(data))
    sizes = [len(p) for _, p in read_packets(path)]
    assert sum(sizes) == 20_000
    assert max(sizes) < 5_000


def test_a_connection_over_two_files_of_different_formats(tmp_path):
    talk = Talk().open().o("PA", 10).r("A").close()
    (tmp_path / "a.pcap").write_bytes(pcap(talk.packets[:4]))
    (tmp_path / "b.pcapng").write_bytes(pcapng(talk.packets[4:]))
    report = ReadReport()
    rows = concat(list(read_captures([tmp_path / "a.pcap", tmp_path / "b.pcapng"], report, FlowOptions())))
    assert rows.text("conn_state").tolist() == ["SF"]


def test_absurd_times_are_left_out_and_counted(tmp_path):
    far = [(2.0**33, PACKETS[0][1])]  # pcapng has room for it, pcap has not
    rows, report = read(tmp_path, pcapng([*far, *PACKETS, *far]))
    assert [r["ts"] for r in rows] == pytest.approx([ts for ts, _ in PACKETS], abs=1e-6)
    assert (report.skipped, report.timelines) == ({"absurd packet time": 2}, 1)


def test_a_time_before_the_epoch_is_absurd(tmp_path):
    offset = struct.pack("<HHq", 14, 8, -10_000_000_000)
    option = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
    block = struct.pack("<HHI", 1, 0, 262144) + offset + option
    good = pcapng(PACKETS)
    body = struct.pack("<II", 1, len(block) + 12) + block + struct.pack("<I", len(block) + 12)
    rows, report = read(tmp_path, good[:28] + body + good[28 + 32 :])
    assert (rows, report.skipped) == ([], {"absurd packet time": 30})


def test_a_capture_of_2040_is_read(tmp_path):
    rows, report = read(tmp_path, pcap([(2_208_988_800.0, PACKETS[0][1])]))
    assert ([r["ts"] for r in rows], report.skipped) == ([2_208_988_800.0], {})
