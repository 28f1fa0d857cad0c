"""TCP states, history letters and counts of the flow engine, as Zeek gives them."""

import pytest

from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions
from tests.packets import START, A, B, Talk, ether, ip, ipv4, one, run, tcp_segment


def request(talk: Talk) -> Talk:
    return talk.o("PA", 100).r("A").r("PA", 500).o("A")


STATES = {
    "unanswered SYN": (Talk().o("S"), "S0", "S"),
    "unanswered SYN with a closed window": (Talk().o("S", window=0), "S0", "SW"),
    "SYN sent again": (Talk().o("S").o("S", seq=1000, after=1), "S0", "S"),
    "complete": (request(Talk().open()).close(), "SF", "ShADadFf"),
    "still open": (request(Talk().open()), "S1", "ShADad"),
    "refused": (Talk().o("S").r("RA"), "REJ", "Sr"),
    "originator resets": (request(Talk().open()).o("RA"), "RSTO", "ShADadR"),
    "responder resets": (request(Talk().open()).r("RA"), "RSTR", "ShADadr"),
    "SYN then RST": (Talk().o("S").o("R"), "RSTOS0", "SR"),
    "SYN-ACK then RST of the responder": (Talk().r("SA").r("RA"), "OTH", "HR"),
    "SYN then FIN": (Talk().o("S").o("F"), "SH", "SF"),
    "only the responder closes": (request(Talk().open()).r("FA").o("A"), "S3", "ShADadf"),
    "only the originator closes": (request(Talk().open()).o("FA").r("A"), "S2", "ShADadF"),
    "SYN-ACK and FIN seen on one side": (Talk().r("SA").o("A", lost=True).r("A").r("FA"), "SHR", "^haf"),
    "seen from its middle": (Talk(dport=80).o("PA", 10).r("PA", 20), "OTH", "Dd"),
    "FIN and RST in one segment": (request(Talk().open()).o("FRA"), "RSTO", "ShADadI"),
    "SYN and FIN in one segment": (Talk().o("SF"), "SH", "Q"),
}


@pytest.mark.parametrize("name", STATES)
def test_state_and_history(name):
    talk, state, history = STATES[name]
    row = one(talk.packets)
    assert (row["conn_state"], row["history"]) == (state, history)


def test_counts_of_a_complete_connection():
    row = one(request(Talk().open()).close().packets)
    assert (row["id.orig_h"], row["id.orig_p"], row["id.resp_h"], row["id.resp_p"]) == (A, 40000, B, 8001)
    assert (row["orig_pkts"], row["resp_pkts"]) == (6, 4)
    assert (row["orig_ip_bytes"], row["resp_ip_bytes"]) == (6 * 40 + 100, 4 * 40 + 500)
    assert (row["orig_bytes"], row["resp_bytes"], row["missed_bytes"]) == (100, 500, 0)
    assert row["duration"] == pytest.approx(0.08, abs=1e-6)  # the last ACK comes after both have closed
    assert (row["local_orig"], row["local_resp"], row["partial"]) == (True, True, 0)
    assert (row["orig_l2_addr"], row["resp_l2_addr"]) == ("02:00:00:00:00:01", "02:00:00:00:00:02")


def test_sequence_numbers_that_wrap_around():
    talk = Talk(seq=0xFFFFFF00, ack=0xFFFFFFF0).open()
    for _ in range(20):
        talk.o("PA", 100).r("A").r("PA", 50).o("A")
    row = one(talk.close().packets)
    assert (row["orig_bytes"], row["resp_bytes"], row["history"]) == (2000, 1000, "ShADadFf")


def test_retransmissions_are_counted_in_powers_of_ten():
    talk = Talk().open().o("PA", 100)
    for _ in range(10):
        talk.o("PA", 100, seq=1001)
    row = one(talk.r("A").close().packets)
    assert row["history"] == "ShADTTaFf"
    assert (row["orig_bytes"], row["orig_ip_bytes"]) == (100, 40 * 15 + 1100)


def test_closed_windows_are_counted_in_powers_of_ten():
    talk = request(Talk().open())
    for _ in range(100):
        talk.r("A", window=0)
    assert one(talk.packets)["history"] == "ShADadwww"


def test_content_gap_is_missed_bytes_and_a_letter():
    talk = Talk().open().o("PA", 100).r("A").o("PA", 300, lost=True).o("PA", 50).r("A").close()
    row = one(talk.packets)
    assert (row["history"], row["missed_bytes"], row["orig_bytes"]) == ("ShADaGFf", 300, 450)


def test_reordered_data_is_no_gap():
    talk = Talk().open().o("PA", 100)
    talk.packets.insert(3, talk.packets.pop())
    talk.o("PA", 100, seq=1201).o("PA", 100, seq=1101)
    talk.next[0] = 1301
    row = one(talk.r("A").close().packets)
    assert (row["missed_bytes"], row["orig_bytes"], row["conn_state"]) == (0, 300, "SF")
    assert "G" not in row["history"]


def test_syn_ack_first_is_turned_round_once_it_proves_productive():
    row = one(Talk().o("S", lost=True).r("SA").o("A").o("PA", 10).r("A").close().packets)
    assert (row["id.orig_h"], row["conn_state"], row["history"]) == (A, "SF", "^hADaFf")


def test_syn_ack_first_from_a_server_port_is_turned_round_at_once():
    row = one(Talk(dport=80).o("S", lost=True).r("SA").packets)
    assert (row["id.orig_h"], row["id.resp_p"], row["history"], row["conn_state"]) == (A, 80, "^h", "OTH")


def test_stealth_syn_ack_keeps_its_sender_as_originator():
    row = one(Talk().r("SA").o("R").packets)
    assert (row["id.orig_h"], row["history"], row["conn_state"]) == (B, "Hr", "REJ")


def test_syn_and_syn_ack_in_the_wrong_order():
    talk = request(Talk().open()).close()
    talk.packets[0], talk.packets[1] = talk.packets[1], talk.packets[0]
    row = one(talk.packets)
    assert (row["id.orig_h"], row["conn_state"], row["history"]) == (A, "SF", "Hs^ADadFf")


@pytest.mark.parametrize(
    ("sport", "dport", "flipped"), [(443, 50000, True), (50000, 443, False), (80, 443, True), (443, 80, False)]
)
def test_the_likely_server_port_is_the_responder(sport, dport, flipped):
    row = one([(START, ether(ip(A, B, 6, tcp_segment(sport, dport, "PA", 5, 5, b"x" * 10))))])
    assert (row["id.orig_h"] == B) is flipped
    assert row["history"] == ("^d" if flipped else "D")


def test_a_new_syn_on_used_ports_is_a_new_connection():
    first, second = request(Talk().open()).close(), Talk(seq=500_000, ack=700_000)
    second.now = first.now + 1
    rows = run(first.packets + request(second.open()).close().packets)
    assert [r["conn_state"] for r in rows] == ["SF", "SF"]
    assert rows[0]["uid"] != rows[1]["uid"]


def test_both_ends_the_same_socket():
    row = one([(START + i, ether(ipv4(A, A, 6, tcp_segment(7, 7, "S", 1, 0)))) for i in range(2)])
    assert (row["orig_pkts"], row["resp_pkts"]) == (2, 0)


def test_bad_header_length_is_a_connection_without_packets():
    segment = bytearray(tcp_segment(40000, 80, "S", 1, 0))
    segment[12] = 0x40
    row = one([(START, ether(ipv4(A, B, 6, bytes(segment) + b"x" * 20)))])
    assert (row["orig_pkts"], row["conn_state"]) == (0, "OTH")


def test_payload_cut_by_the_snapshot_length_counts_by_sequence_number():
    talk = Talk().open().o("PA", 1000).r("A").close()
    cut = [(ts, len(data), data[:80]) for ts, data in talk.packets]
    engine = FlowEngine(FlowOptions())
    engine.feed(1, cut)
    engine.flush()
    row = next(engine.take().records())
    assert (row["orig_bytes"], row["orig_pkts"], row["conn_state"]) == (1000, 5, "SF")


def test_long_transfer_uses_the_fast_path_and_counts_the_same():
    talk = Talk().open()
    for i in range(200):
        talk.o("PA", 10).r("PA", 1000)
        if i % 3 == 0:
            talk.o("A")
    row = one(talk.close().packets)
    assert (row["orig_bytes"], row["resp_bytes"], row["history"]) == (2000, 200_000, "ShADdFf")
    assert row["orig_pkts"] + row["resp_pkts"] == len(talk.packets)


def test_segmentation_offload_leaves_the_length_at_zero():
    segment = tcp_segment(40000, 8001, "S", 1, 0)
    row = one([(START, ether(ipv4(A, B, 6, segment, length=0) + b"\0" * 6))])
    assert (row["orig_pkts"], row["orig_ip_bytes"]) == (1, 0)
