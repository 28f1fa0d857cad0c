"""A compressed recording is stretched to its schedule: pauses grow, exchanges keep their pace, order stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_export.lab.stretch import stretch
from pyad.flow.capture import read_packets
from tests.packets import MAC_A, START, A, B, Talk, arp, ether, icmp, ip, pcap, tcp_segment, udp

HTTP = {"sport": 40000, "dport": 80}
HL7 = {"sport": 40000, "dport": 2575}


def times(tmp_path: Path, packets: list[tuple[float, bytes]], factor: float = 10, nano: bool = False) -> list[float]:
    """Seconds after the first packet, of each packet given (they must differ), after stretching."""
    source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
    source.write_bytes(pcap(packets, nano=nano))
    assert stretch(source, target, factor) == len(packets)
    new = {data: ts for _, batch in read_packets(target) for ts, _, data in batch}
    assert len(new) == len(packets)
    return [round(new[data] - packets[0][0], 4) for _, data in packets]


def test_pauses_of_a_connection_grow_and_its_exchanges_do_not(tmp_path: Path) -> None:
    talk = Talk(**HL7).open()  # 0, 0.01, 0.02
    talk.o("PA", 10, after=0.01).r("PA", 20, after=0.5)  # an answer that takes its time: 0.03, 0.53
    talk.o("PA", 11, after=2.0).r("PA", 21, after=0.1)  # a pause of 2 s: at 2.53 of the recording
    talk.r("PA", 22, after=3.0)  # the server speaks unasked, at 5.63
    talk.o("A", after=0.05).o("FA", after=1.0)  # 5.68, 6.68
    assert times(tmp_path, talk.packets) == [0, 0.01, 0.02, 0.03, 0.53, 25.3, 25.4, 56.3, 56.35, 66.8]


def test_short_silences_where_nobody_pauses_are_the_machines(tmp_path: Path) -> None:
    talk = Talk(**HTTP).open().o("PA", 10, after=0.5).r("PA", 20, after=2.0)  # 0.52, 2.52
    talk.o("FA", after=2.5).r("FA", after=3.5)  # 5.02; 8.52, after more than 3 s and unasked
    assert times(tmp_path, talk.packets) == [0, 0.01, 0.02, 0.52, 2.52, 5.02, 85.2]


def test_flows_begin_at_their_scheduled_time(tmp_path: Path) -> None:
    packets = [(START, udp(A, 5000, B, 53, b"a")), (START + 0.02, udp(B, 53, A, 5000, b"b"))]
    packets += [(START + 3, udp(A, 5001, B, 53, b"c")), (START + 4, arp(A, MAC_A))]
    assert times(tmp_path, packets) == [0, 0.02, 30, 40]


def test_what_is_sent_again_keeps_its_gap(tmp_path: Path) -> None:
    talk = Talk(**HTTP).o("S")
    talk.o("S", seq=1000, after=1.0, window=1).o("S", seq=1000, after=2.0, window=2)
    assert times(tmp_path, talk.packets) == [0, 1, 3]
    talk = Talk(**HTTP).open().o("PA", 10).o("PA", bytes(10), seq=1001, after=0.3, window=7)
    assert times(tmp_path, talk.packets)[-1] == pytest.approx(0.33)
    query = udp(A, 5000, B, 53, b"query")
    assert times(tmp_path, [(START, query[:11] + b"\7" + query[12:]), (START + 5, query)]) == [0, 5]


def test_periodic_datagrams_keep_step_with_the_schedule(tmp_path: Path) -> None:
    packets = [(START + 6 * i, udp(A, 5000, B, 514, b"%d" % i)) for i in range(5)]
    assert times(tmp_path, packets) == [0, 60, 120, 180, 240]


def test_a_port_used_again_is_another_flow(tmp_path: Path) -> None:
    first, second = Talk(**HTTP).open().close(), Talk(**HTTP, seq=777_000, ack=5)
    second.now = first.now
    second.o("S", after=0.1).r("SA").o("A")
    new = times(tmp_path, first.packets + second.packets)
    assert new[:6] == [0, 0.01, 0.02, 0.03, 0.04, 0.05]
    assert new[6:] == [1.5, 1.51, 1.52]


def test_an_icmp_error_goes_with_the_packet_it_quotes(tmp_path: Path) -> None:
    packets = [(START, udp(A, 5000, B, 9, b"1")), (START + 0.1, udp(A, 5000, B, 9, b"2"))]
    quoted = packets[1][1][14:]
    packets.append((START + 0.101, icmp(B, A, 3, 3, quoted)))
    assert times(tmp_path, packets) == [0, 0.1, 0.101]


def test_factor_one_changes_nothing_and_nanoseconds_stay(tmp_path: Path) -> None:
    packets = Talk(**HTTP).open().o("PA", 5, after=7).close().packets
    source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
    source.write_bytes(pcap(packets, nano=True))
    stretch(source, target, 1)
    assert target.read_bytes() == source.read_bytes()
    stretch(source, target, 1 + 1e-15)  # the long way
    assert target.read_bytes() == source.read_bytes()
    assert times(tmp_path, packets, 2, nano=True)[3] == 14.04


def test_what_is_no_ethernet_pcap_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello, this is no capture at all")
    with pytest.raises(ValueError, match="not a pcap"):
        stretch(tmp_path / "x", tmp_path / "y", 2)


@settings(deadline=None, max_examples=40)  # a busy machine must not fail it
@given(
    st.lists(
        st.tuples(st.floats(0, 4), st.integers(0, 2), st.integers(0, 1), st.sampled_from("S A PA FA R SA u".split())),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([1.5, 3.0, 12.0]),
)
def test_order_within_a_flow_is_kept(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, int, int, str]], factor: float
) -> None:
    now, packets, flow_of = START, [], {}
    for number, (gap, flow, side, kind) in enumerate(steps):
        now += gap
        ends = [(A, 4000 + flow), (B, 80)]
        (src, sport), (dst, dport) = ends if side == 0 else reversed(ends)
        mark = b"%04d" % number
        if kind == "u":
            data = udp(src, sport, dst, dport, mark)
        else:
            data = ether(ip(src, dst, 6, tcp_segment(sport, dport, kind, 100 + number * 4, 1, mark)))
        packets.append((now, data))
        flow_of[data] = (flow, kind == "u")
    folder = tmp_path_factory.mktemp("stretch")
    (folder / "in").write_bytes(pcap(packets))
    stretch(folder / "in", folder / "out", factor)
    after = [(ts, data) for _, batch in read_packets(folder / "out") for ts, _, data in batch]
    assert [ts for ts, _ in after] == sorted(ts for ts, _ in after)
    assert after[-1][0] - START <= factor * (now - START) + 1e-3
    for flow in set(flow_of.values()):
        assert [d for _, d in packets if flow_of[d] == flow] == [d for _, d in after if flow_of[d] == flow]
