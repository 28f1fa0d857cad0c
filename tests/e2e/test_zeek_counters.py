"""The application counters, ARP changes and medical services of the Zeek scripts, with a real Zeek."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from pyad.flow.engine import FlowEngine
from pyad.flow.options import FlowOptions
from pyad.row import COUNTERS
from tests.packets import START, A, B, Talk, arp, ether, icmp, pcap, udp

pytestmark = pytest.mark.skipif(
    shutil.which("zeek") is None,
    reason="zeek is not on PATH; binary packages: https://docs.zeek.org (Installing Zeek)",
)

SCRIPTS = Path(__file__).parents[2] / "zeek-scripts"
HOSPITAL = Path(__file__).parents[1] / "data" / "hospital.pcap"
NAMES = [f.name for f in COUNTERS]
PRINTER = """
@load {scripts}/counters
@load {scripts}/arp.zeek
@load {scripts}/medical.zeek
event zeek_init()
	{{
	PyAD::exporting = {exporting};
	}}
event PyAD::address_changed(ts: time, address: addr, new_mac: string, old_mac: string)
	{{
	print fmt("ARP|%.3f|%s|%s|%s", ts, address, new_mac, old_mac);
	}}
event connection_state_remove(c: connection) &priority=-3
	{{
	print fmt("ROW|%d|%s|%s", port_to_count(c$id$resp_p), PyAD::extra_service(c), PyAD::counters_of(c));
	}}
{more}
"""
M1, M2, M3 = (bytes.fromhex(f"aabbccddee0{i}") for i in (1, 2, 3))


def zeek(tmp_path, packets, exporting="T", more=""):
    """Zeek's rows (port, service, counters) and changed addresses for a capture or for packets; no error is allowed."""
    capture = packets
    if not isinstance(packets, Path):
        capture = tmp_path / "c.pcap"
        capture.write_bytes(pcap(packets))
    script = tmp_path / "print.zeek"
    script.write_text(PRINTER.format(scripts=SCRIPTS, exporting=exporting, more=more))
    done = subprocess.run(
        ["zeek", "-C", "-r", capture, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert "error" not in done.stderr
    assert not (tmp_path / "signatures.log").exists()
    assert not (tmp_path / "notice.log").exists()
    lines = [line.split("|") for line in done.stdout.splitlines()]
    rows = []
    for _, port, service, text in (line for line in lines if line[0] == "ROW"):
        if text == "-":
            rows.append((int(port), service, {}))
            continue
        values = text.split(" ")
        assert len(values) in (1, len(NAMES))
        names = NAMES if len(values) > 1 else NAMES[-1:]  # one number: weirds alone
        counts = {name: int(value) for name, value in zip(names, values, strict=True) if value != "-1"}
        rows.append((int(port), service, counts))
    return rows, [tuple(line[1:]) for line in lines if line[0] == "ARP"]


def talk(*turns, dport=8001, sport=40000):
    """A TCP conversation of turns (from the originator, bytes)."""
    conversation = Talk(sport=sport, dport=dport).open()
    for from_orig, data in turns:
        (conversation.o if from_orig else conversation.r)("PA", data)
    return conversation.close().packets


def query(name, response=False, rcode=0):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
    flags = 0x8180 | rcode if response else 0x0100
    return b"\0\1" + flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def counts(tmp_path, packets):
    ((_, _, found),) = zeek(tmp_path, packets)[0]
    assert set(found) <= set(NAMES)
    return {k: v for k, v in found.items() if k != "weirds"}


def test_nothing_seen_is_unset(tmp_path):
    assert counts(tmp_path, talk((True, b"\x99nothing known\n"))) == {}


def test_dns(tmp_path):
    packets = []
    for i, (name, rcode) in enumerate([("a.example.org", 0), ("n" * 30 + ".example.org", 3), ("b.example.org", 2)]):
        packets.append((START + i, udp(A, 5353, B, 53, query(name))))
        packets.append((START + i + 0.1, udp(B, 53, A, 5353, query(name, True, rcode))))
    assert counts(tmp_path, packets) == {
        "dns_queries": 3, "requests": 3, "error_replies": 2, "dns_nxdomain": 1, "dns_longest_qname": 42
    }  # fmt: skip


def test_sip_counts_answers_to_credentials(tmp_path):
    def ask(extra=""):
        return True, f"REGISTER sip:b SIP/2.0\r\nCall-ID: 1\r\n{extra}Content-Length: 0\r\n\r\n"

    def answer(code):
        return False, f"SIP/2.0 {code} X\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n"

    login = ask("Authorization: Digest x\r\n")
    turns = [
        ask(), answer(401), login, answer(100), answer(401),  # asked for a password, then a wrong one
        login, answer(100), answer(200), answer(200),  # the right one, its answer sent twice
        ask(), answer(403), ask(), answer(200),  # barred; and nothing to log in to
        *[ask("Proxy-Authorization: Digest x\r\n")] * 3, *[answer(407)] * 3,  # guesses without waiting
        ask(), answer(401),
    ]  # fmt: skip
    packets = [
        (START + i, udp(*((A, 5060, B, 5060) if from_orig else (B, 5060, A, 5060)), text.encode()))
        for i, (from_orig, text) in enumerate(turns)
    ]
    assert counts(tmp_path, packets) == {"requests": 9, "error_replies": 7, "auth_failures": 5, "auth_successes": 1}


@pytest.mark.parametrize(("scheme", "successes"), [("Basic dTpw", 1), ("Bearer abc", 0), ('Digest username="u"', 0)])
def test_http_success_needs_basic_credentials(tmp_path, scheme, successes):
    def get(extra=b""):
        return b"GET / HTTP/1.1\r\nHost: h\r\n" + extra + b"\r\n"

    def answer(code):
        return b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % code

    login = f"Authorization: {scheme}\r\n".encode()
    packets = talk(
        (True, get()), (False, answer(200)), (True, get(login)), (False, answer(401)),
        (True, get(login)), (False, answer(200)), (True, get()), (False, answer(200)), dport=80
    )  # fmt: skip
    assert counts(tmp_path, packets) == {
        "requests": 4, "error_replies": 1, "auth_failures": 1, "auth_successes": successes
    }  # fmt: skip


def test_ftp_guessing(tmp_path):
    turns = [(False, b"220-one\r\n220 two\r\n")]
    for code in (b"530", b"530", b"230"):
        turns += [(True, b"USER u\r\n"), (False, b"331 p\r\n"), (True, b"PASS p\r\n"), (False, code + b" x\r\n")]
    assert counts(tmp_path, talk(*turns, dport=21)) == {
        "requests": 6, "error_replies": 2, "auth_failures": 2, "auth_successes": 1
    }  # fmt: skip


def modbus(function, data):
    return b"\0\1\0\0" + (len(data) + 2).to_bytes(2, "big") + b"\1" + bytes([function]) + data


def test_modbus_writes_and_exceptions(tmp_path):
    packets = talk(
        (True, modbus(6, b"\0\1\0\2")), (False, modbus(6, b"\0\1\0\2")),
        (True, modbus(3, b"\0\1\0\1")), (False, modbus(0x83, b"\2")), dport=502
    )  # fmt: skip
    assert counts(tmp_path, packets) == {
        "requests": 2, "error_replies": 1, "ics_writes": 1, "ics_exceptions": 1
    }  # fmt: skip


@pytest.mark.parametrize("more", ["redef PyAD::count_applications = F;", ""])
def test_switched_off_or_no_bridge_counts_nothing(tmp_path, more):
    packets = [(START, udp(A, 5353, B, 53, query("a.b")))]
    ((_, _, found),), _ = zeek(tmp_path, packets, exporting="T" if more else "F", more=more)
    assert found in ({}, {"weirds": 0})


# A length of 0x010a holds a newline, which "." in a pattern does not match.
DICOM = b"\1\0\0\0\1\x0a\0\1\0\0" + b"SCANNER         ARCHIVE         " + b"\0" * 240


@pytest.mark.parametrize(
    ("turns", "service"),
    [
        ([(True, b"\x0bMSH|^~\\&|A|B\r\x1c\r")], "hl7"),
        ([(False, b"\x0bMSH#^~\\&|A|B\r\x1c\r")], "hl7"),
        ([(True, DICOM)], "dicom"),
        ([(True, b"x\x0bMSH|^~\\&|A|B\r")], ""),
        ([(True, b"MSH|^~\\&|A|B\r")], ""),
        ([(True, b"\1\0\0\0\1\x0a\0\2\0\0" + b"x" * 60)], ""),
    ],
)
def test_medical_services_on_any_port(tmp_path, turns, service):
    ((_, found, _),) = zeek(tmp_path, talk(*turns, dport=4711))[0]
    assert found == service
    assert "hl7" not in (tmp_path / "conn.log").read_text()


def tagged(frame, vlan):
    return frame[:12] + b"\x81\0" + vlan.to_bytes(2, "big") + frame[12:]


def posing(sender, mac):
    """A claim sent from another MAC than it names."""
    return ether(arp(sender, mac)[14:], 0x0806, src=M3)


def test_arp_changes_as_the_flow_engine_sees_them(tmp_path):
    frames = [
        arp(A, M1), arp(A, M1, op=1), arp(A, M2), arp(A, M1, op=1), arp("0.0.0.0", M2), arp("0.0.0.0", M1),
        arp(B, bytes(6)), arp(B, M1), arp(B, bytes(6)), arp(B, M1), posing(B, M2), posing(B, M2),
        tagged(arp(A, M2), 7), tagged(arp(A, M2), 7), tagged(arp(A, M3), 7), arp(A, M1), arp(A, M3, op=9),
    ]  # fmt: skip
    packets = [(START + i, frame) for i, frame in enumerate(frames)]
    engine = FlowEngine(FlowOptions())
    engine.feed(1, [(ts, len(data), data) for ts, data in packets])
    engine.flush()
    expected = [
        (f"{r['ts']:.3f}", r["id.orig_h"], r["orig_l2_addr"], r["resp_l2_addr"])
        for r in engine.take().records()
        if r["proto"] == "arp"
    ]
    assert len(expected) == 4
    assert zeek(tmp_path, packets)[1] == expected
    assert zeek(tmp_path, packets, exporting="F")[1] == []


def test_a_claim_counts_in_its_own_vlan(tmp_path):
    frames = [arp(B, M1), tagged(arp(B, M2), 7), arp(A, M1), tagged(arp(A, M1), 7), tagged(arp(A, M3), 7)]
    _, changes = zeek(tmp_path, [(START + i, frame) for i, frame in enumerate(frames)])
    assert [(c[1], c[2]) for c in changes] == [(A, "aa:bb:cc:dd:ee:03")]


def test_arp_memory_is_bounded_and_cannot_be_filled_for_good(tmp_path):
    crowd = [arp(f"10.1.{i // 250}.{i % 250}", M1) for i in range(500)]
    packets = [(START + i, frame) for i, frame in enumerate([*crowd, arp(A, M1), arp(A, M2), arp("10.1.0.0", M2)])]
    more = (
        "redef PyAD::max_addresses = 100;\nmodule PyAD;\n"
        'event zeek_done() { print fmt("ARP|%d", |young_claims| + |old_claims|); }'
    )
    *changes, (size,) = zeek(tmp_path, packets, more=more)[1]
    assert [(c[1], c[2]) for c in changes] == [(A, "aa:bb:cc:dd:ee:02")]
    assert int(size) <= 100


def test_a_duration_below_zero_is_unset_as_in_conn_log(tmp_path):
    more = (
        f"@load {SCRIPTS}/rows.zeek\nmodule PyAD;\n"
        'event connection_state_remove(c: connection) &priority=-4 { print fmt("ARP|%s", pack(c, 0)); }'
    )
    packets = [(START + 2.0, icmp(A, B, 8)), (START + 1.5, icmp(A, B, 8))]
    ((text,),) = zeek(tmp_path, packets, more=more)[1]
    [line] = [r.split("\t") for r in (tmp_path / "conn.log").read_text().splitlines() if not r.startswith("#")]
    assert line[8:11] == ["-", "-", "-"] and text.split(" ")[8:11] == ["-", "-", "-"]


def test_hospital_capture(tmp_path):
    rows, _ = zeek(tmp_path, HOSPITAL)
    services = Counter(service for _, service, _ in rows)
    assert services["hl7"] > 10
    assert services["dicom"] > 10
    for name in ("auth_failures", "dns_queries", "tls_version", "mqtt_publishes", "ics_writes"):
        assert any(found.get(name) for _, _, found in rows), name
