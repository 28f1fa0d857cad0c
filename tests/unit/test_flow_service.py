"""Services by what the first payload looks like."""

import pytest

from pyad.flow.service import tcp_service, udp_service
from tests.packets import START, A, B, Talk, one, udp

TLS = b"\x16\x03\x01\x00\x05\x01\0\0\x01\0"
DICOM = b"\x01\0\0\0\0\xcd\0\x01\0\0" + b"ANY-SCP         " + b"ECHOSCU         " + bytes(32)
MQTT = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd"
SNMP = b"\x30\x29\x02\x01\0\x04\x06public\xa0\x1c"
DHCP = b"\x01\x01\x06\0" + bytes(232) + b"\x63\x82\x53\x63\x35\x01\x01\xff"

TCP = [
    ("http", b"GET / HTTP/1.1\r\n\r\n", True, 8123),
    ("http", b"HTTP/1.1 200 OK\r\n\r\n", False, 8123),
    ("ssl", TLS, True, 4433),
    ("ssh", b"SSH-2.0-OpenSSH_9\r\n", False, 2222),
    ("dns", b"\0\x1d\0\x01\x01\0\0\x01" + bytes(21), True, 53),
    ("mqtt", MQTT, True, 1884),
    ("modbus", b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x01", True, 502),
    ("ftp", b"220 FTP server ready\r\n", False, 2100),
    ("ftp", b"USER anonymous\r\n", True, 21),
    ("smtp", b"220 mail ESMTP\r\n", False, 25),
    ("smtp", b"EHLO me\r\n", True, 2500),
    ("smb", b"\0\0\0\x2f\xffSMB\x72" + bytes(30), True, 445),
    ("smb", b"\0\0\0\x2f\xfeSMB\x40" + bytes(30), True, 4450),
    ("rdp", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0", True, 3389),
    ("telnet", b"\xff\xfd\x18\xff\xfd\x20", False, 23),
    ("dicom", DICOM, True, 11112),
    ("hl7", b"\x0bMSH|^~\\&|LAB|", True, 2575),
    ("", b"\x00\x01\x02", True, 9999),
    ("", b"hello", True, 80),
]
UDP = [
    ("dns", b"\0\x01\x01\0\0\x01" + bytes(10), True, 53),
    ("", b"\0", True, 53),
    ("ntp", b"\x23" + bytes(47), True, 123),
    ("snmp", SNMP, True, 161),
    ("dhcp", DHCP, True, 67),
    ("dtls", b"\x16\xfe\xff" + bytes(20), True, 4433),
    ("sip", b"REGISTER sip:example.org SIP/2.0\r\n", True, 5060),
    ("", b"", True, 53),
    ("", b"random bytes", True, 40000),
]


@pytest.mark.parametrize(("service", "payload", "is_orig", "port"), TCP)
def test_tcp(service, payload, is_orig, port):
    assert tcp_service(payload, is_orig, port) == service


@pytest.mark.parametrize(("service", "payload", "is_orig", "port"), UDP)
def test_udp(service, payload, is_orig, port):
    assert udp_service(payload, is_orig, port) == service


@pytest.mark.parametrize("case", [*TCP, *UDP])
def test_payloads_cut_anywhere_do_no_harm(case):
    _, payload, is_orig, port = case
    for size in range(1, len(payload)):
        tcp_service(payload[:size], is_orig, port)
        udp_service(payload[:size], is_orig, port)


def test_the_row_names_the_service():
    assert one(Talk(dport=4433).open().o("PA", TLS).r("A").close().packets)["service"] == "ssl"
    assert one([(START, udp(A, 5000, B, 161, SNMP))])["service"] == "snmp"
    assert "service" not in one(Talk().open().close().packets)
