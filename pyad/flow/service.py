"""Which application protocol a connection speaks: by what its first payload looks like, helped by the port.

Names are Zeek's where Zeek has the protocol; `telnet`, `dicom` and `hl7` are ours.
"""

from __future__ import annotations

import re

_HTTP_METHODS = (
    *(b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT ", b"TRACE "),
    *(b"PROPFIND ", b"SUBSCRIBE ", b"NOTIFY ", b"M-SEARCH "),
)
_SIP = (
    b"INVITE ",
    b"REGISTER ",
    b"OPTIONS sip",
    b"BYE ",
    b"ACK ",
    b"CANCEL ",
    b"SIP/2.0 ",
    b"NOTIFY sip",
    b"SUBSCRIBE sip",
)
_SMTP_PORTS = frozenset({25, 465, 587, 2525})
_FTP_PORTS = frozenset({21, 2121, 2811})
_DNS_PORTS = frozenset({53, 137, 5353, 5355})
_FTP_COMMAND = re.compile(rb"(?i)(USER|AUTH|FEAT|SYST|PASS|QUIT)[ \r]")
_IRC = re.compile(rb"(?i)(NICK|USER|PASS|JOIN|:[^ ]+ (001|NOTICE)) ")

_PAIRS4 = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
_PAIRS6 = {
    **{128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130},
    **{139: 140, 140: 139, 144: 145, 145: 144},
}


def icmp_counterpart(kind: int, code: int, proto: int) -> int | None:
    """The ICMP type that answers `kind`, None for one-way messages. `proto` is 1 (ICMP) or 58 (ICMPv6)."""
    return (_PAIRS6 if proto == 58 else _PAIRS4).get(kind)


def tcp_service(data: bytes, is_orig: bool, resp_p: int) -> str:
    """The service that one of the first payloads of a TCP connection shows, or ""."""
    if is_orig and data.startswith(_HTTP_METHODS):
        return "http"
    if data.startswith(b"HTTP/1."):
        return "http"
    first = data[0]
    if first == 0x16 and len(data) >= 6 and data[1] == 3 and data[2] <= 4 and data[5] in (1, 2):
        return "ssl"
    if data.startswith(b"SSH-"):
        return "ssh"
    if first == 3 and len(data) >= 7 and data[1] == 0 and data[5] in (0xE0, 0xD0) and resp_p != 102:
        return "rdp"
    if first == 0 and len(data) >= 9 and data[4:8] in (b"\xffSMB", b"\xfeSMB"):
        return "smb"
    if (first == 0x10 and data[2:9].find(b"\0\x04MQTT") >= 0) or (first == 0x10 and b"\0\x06MQIsdp" in data[:12]):
        return "mqtt"
    if first == 0x20 and resp_p == 1883 and len(data) >= 4 and data[1] == 2:
        return "mqtt"
    if first == 0x0B and data[1:5] == b"MSH|":
        return "hl7"
    if first in (1, 2) and len(data) >= 10 and data[1] == 0 and _dicom(data):
        return "dicom"
    if first == 0x05 and data[1:2] == b"\x64" and len(data) >= 10:
        return "dnp3_tcp"
    if resp_p == 502 and len(data) >= 8 and data[2:4] == b"\0\0" and int.from_bytes(data[4:6], "big") <= 260:
        return "modbus"
    if resp_p == 53 and len(data) >= 14 and int.from_bytes(data[:2], "big") >= 12 and _dns(data[2:]):
        return "dns"
    return _text_service(data, is_orig, resp_p, first)


def _text_service(data: bytes, is_orig: bool, resp_p: int, first: int) -> str:
    if not is_orig and data.startswith(b"220"):
        upper = data[:200].upper()
        if resp_p in _SMTP_PORTS or b"SMTP" in upper:
            return "smtp"
        if resp_p in _FTP_PORTS or b"FTP" in upper:
            return "ftp"
    if is_orig:
        if data[:5].upper() in (b"HELO ", b"EHLO "):
            return "smtp"
        if resp_p in _FTP_PORTS and _FTP_COMMAND.match(data):
            return "ftp"
        if _IRC.match(data) and (6660 <= resp_p <= 6669 or data[:5].upper() == b"NICK "):
            return "irc"
    elif resp_p == 3306 and len(data) > 20 and data[3:5] == b"\0\x0a":
        return "mysql"
    if first == 0xFF and len(data) >= 3 and 0xFA <= data[1] <= 0xFE:
        return "telnet"
    if resp_p in (88,) and len(data) > 10 and data[4] in (0x6A, 0x6B, 0x6C, 0x6D, 0x7E):
        return "krb_tcp"
    return ""


def _dicom(data: bytes) -> bool:
    """An A-ASSOCIATE request or acceptance: PDU length, version 1, 16-character titles."""
    length = int.from_bytes(data[2:6], "big")
    return 68 <= length < 1 << 20 and data[6:8] == b"\0\x01" and data[8:10] == b"\0\0"


def _dns(data: bytes) -> bool:
    if len(data) < 12:
        return False
    flags, questions = (data[2] << 8) | data[3], (data[4] << 8) | data[5]
    return questions <= 32 and (flags >> 11) & 15 in (0, 1, 2, 4, 5, 6, 7, 8) and (data[6] << 8 | data[7]) <= 512


def udp_service(data: bytes, is_orig: bool, resp_p: int) -> str:
    """The service that one of the first payloads of a UDP flow shows, or ""."""
    size = len(data)
    if not size:
        return ""
    if resp_p in _DNS_PORTS:
        return "dns" if _dns(data) else ""
    if resp_p in (67, 4011) or (size > 240 and data[236:240] == b"\x63\x82\x53\x63"):
        return "dhcp" if size >= 240 and data[236:240] == b"\x63\x82\x53\x63" else ""
    if resp_p == 123:
        return "ntp" if size >= 48 or (size >= 12 and data[0] & 7 in (6, 7)) else ""
    if resp_p in (161, 162):
        return "snmp" if data[0] == 0x30 and b"\x02\x01" in data[:6] else ""
    if data.startswith(_SIP):
        return "sip"
    if 0x14 <= data[0] <= 0x17 and size >= 13 and data[1] == 0xFE and data[2] in (0xFF, 0xFD):
        return "dtls"
    if resp_p == 1812:
        return "radius" if size >= 20 and int.from_bytes(data[2:4], "big") <= size else ""
    if resp_p == 514 and data[0] == 0x3C:
        return "syslog"
    if resp_p == 88 and data[0] in (0x6A, 0x6B, 0x6C, 0x6D, 0x7E):
        return "krb"
    if resp_p == 4789 and size >= 8 and data[0] & 8:
        return "vxlan"
    if resp_p == 3544 and size >= 40:
        return "teredo"
    if resp_p == 20000 and data[:2] == b"\x05\x64":
        return "dnp3_udp"
    return ""
