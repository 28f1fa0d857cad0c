"""What tshark's dissection of one frame adds to its connection: service names and application counters.

Pure: tshark's fields of a frame in (name → list of texts, as its `ek` output has them), counts out. The texts
are chosen by whoever sent the packet, so they only ever become numbers or are compared with fixed words.

What the names alone do not say: `tls_version` is the number on the wire (0x0303 → 771 is TLS 1.2, 0xfefd →
65277 DTLS 1.2), and for HTTP a success is a 2xx answer to a request with Basic credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from pyad.flow.tshark_facts import AppFacts, Codes, Fields, numbers

Handler = Callable[[AppFacts, Fields, bool, float], None]

# tshark's expert info: severity from "warning" up counts as weird, but not what the sequence analysis and the
# checksum check say (loss, offloading): Zeek does not call those weird either.
EXPERT_WARNING = 0x600000
EXPERT_NOT_WEIRD = frozenset({0x01000000, 0x02000000})  # PI_CHECKSUM, PI_SEQUENCE

# no, bad, unsupported, revoked, expired, unknown certificate; unknown authority
TLS_CERTIFICATE_ALERTS = frozenset({41, 42, 43, 44, 45, 46, 48})
SMB_LOGON_FAILURES = frozenset(
    {0xC0000064, 0xC000006A, 0xC000006D, 0xC000006E, 0xC000006F, 0xC0000070, 0xC0000071, 0xC0000072}
    | {0xC000015B, 0xC0000193, 0xC0000224, 0xC0000234}
)
MODBUS_WRITES = frozenset({5, 6, 15, 16, 22, 23})
DNP3_OPERATES = frozenset({4, 5, 6})  # operate, direct operate, direct operate without answer
BACNET_WRITES = frozenset({15, 16})  # writeProperty, writePropertyMultiple
S7_WRITES = frozenset({0x05, 0x1A, 0x1B, 0x1C, 0x28, 0x29})  # write, download, PLC control and stop
IEC104_COMMANDS = range(45, 70)
TELNET_REFUSALS = re.compile(r"(?i)login incorrect|login failed|authentication failed|access denied")
# "2011-05-04 00:00:00 (UTC)"; tshark before 4.0 wrote the year with two digits as the certificate does.
UTC_TIME = re.compile(r"((?:\d\d)?\d\d)-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) \(UTC\)")

# An SSH SERVICE_ACCEPT ("ssh-userauth", 17 bytes) takes 16 bytes more than a USERAUTH_SUCCESS (1 byte) under
# every cipher and MAC in use, and no more than this with the largest MAC; an EXT_INFO is larger.
SSH_SUCCESS_IS_SMALLER_BY = 16
SSH_CLEAR, SSH_ENCRYPTED, SSH_ACCEPTED, SSH_ASKED, SSH_DONE = range(5)
SSH_ACCEPT_MAX = 104


def observe(facts: AppFacts, fields: Fields, from_orig: bool, ts: float) -> None:
    """Add one frame to its connection.

    fields: tshark's, with underscores; from_orig: the connection's originator sent it; ts: s since epoch.
    """
    # A repeated segment is dissected again; its content was counted the first time.
    if "tcp_analysis_retransmission" in fields:
        return
    if "_ws_expert_severity" in fields:
        _weirds(facts, fields)
    for handler in _handlers(fields["frame_protocols"][0]) if fields.get("frame_protocols") else ():
        handler(facts, fields, from_orig, ts)


def _weirds(facts: AppFacts, fields: Fields) -> None:
    severities, groups = numbers(fields, "_ws_expert_severity"), numbers(fields, "_ws_expert_group")
    if len(groups) != len(severities):
        groups = [0] * len(severities)
    for severity, group in zip(severities, groups):
        if severity >= EXPERT_WARNING and group not in EXPERT_NOT_WEIRD:
            facts.add("weirds", 1)


def _dns(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    prefix = "dns" if "dns_flags_response" in fields else "nbns"
    answers = numbers(fields, f"{prefix}_flags_response")
    if not answers:
        return
    facts.confirm("dns")
    queries, codes = answers.count(0), numbers(fields, f"{prefix}_flags_rcode") if any(answers) else []
    facts.add("requests", queries)
    facts.add("error_replies", sum(c != 0 for c in codes))
    facts.add("dns_queries", queries)
    facts.add("dns_nxdomain", codes.count(3))
    longest = max(numbers(fields, "dns_qry_name_len"), default=0)
    facts.counters["dns_longest_qname"] = max(facts.counters.get("dns_longest_qname", 0), longest)


def _tls(facts: AppFacts, fields: Fields, _from_orig: bool, ts: float) -> None:
    kinds = numbers(fields, "tls_handshake_type")
    _handshake(facts, fields, "tls", kinds, ts)
    if 2 in kinds:
        facts.confirm("ssl")


def _dtls(facts: AppFacts, fields: Fields, _from_orig: bool, ts: float) -> None:
    kinds = numbers(fields, "dtls_handshake_type")
    _handshake(facts, fields, "dtls", kinds, ts)
    if kinds:
        facts.confirm("dtls")


def _handshake(facts: AppFacts, fields: Fields, prefix: str, kinds: list[int], ts: float) -> None:
    facts.start("tls_invalid")
    alerts = numbers(fields, f"{prefix}_alert_message_desc")
    facts.add("tls_invalid", sum(a in TLS_CERTIFICATE_ALERTS for a in alerts))
    if 2 in kinds:  # a server hello: the version agreed on (drafts of TLS 1.3 were 0x7fNN)
        chosen = numbers(fields, f"{prefix}_handshake_extensions_supported_version")
        version = chosen[-1] if chosen else next(iter(numbers(fields, f"{prefix}_handshake_version")), 0)
        if version:
            facts.counters["tls_version"] = 0x0304 if version >> 8 == 0x7F else version
    if 11 in kinds and not certificate_valid(fields.get("x509af_utcTime", ()), ts):
        facts.add("tls_invalid", 1)


def certificate_valid(times: Sequence[str], ts: float) -> bool:
    """Whether `ts` lies in the first certificate's validity; true where its dates cannot be told."""
    if len(times) < 2 or len(times) % 2:  # dates after 2049 are another field; then pairs are not certain
        return True
    matches = [UTC_TIME.fullmatch(t) for t in times[:2]]
    try:
        limits = []
        for match in matches:
            if match is None:
                return True
            year, *rest = (int(g) for g in match.groups())
            if len(match[1]) == 2:
                year += 2000 if year < 50 else 1900
            limits.append(datetime(year, *rest, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]
    except (ValueError, OverflowError):
        return True
    return limits[0] <= ts <= limits[1]


def _ssh(facts: AppFacts, fields: Fields, from_orig: bool, _ts: float) -> None:
    """Authentication is encrypted: the sizes of the server's packets tell accept, refusal and success."""
    sides = facts.memory["ssh_sides"] = facts.memory.get("ssh_sides", 0) | (1 if from_orig else 2)
    if sides == 3:  # a banner alone, as a port scan gets it, is no session
        facts.confirm("ssh")
    facts.start("auth_failures", "auth_successes")
    state = facts.memory.get("ssh", SSH_CLEAR)
    if from_orig or state == SSH_DONE:
        return
    size = sum(numbers(fields, "tcp_len"))
    if state == SSH_CLEAR:
        if 21 in numbers(fields, "ssh_message_code"):  # NEWKEYS: what follows is encrypted
            facts.memory["ssh"] = SSH_ENCRYPTED
    elif state == SSH_ENCRYPTED:
        if 0 < size <= SSH_ACCEPT_MAX:
            facts.memory.update(ssh=SSH_ACCEPTED, ssh_accept=size)
    elif size == facts.memory["ssh_accept"] - SSH_SUCCESS_IS_SMALLER_BY:
        facts.add("auth_successes", 1)
        facts.memory["ssh"] = SSH_DONE
    elif state == SSH_ACCEPTED:  # the refusal of method "none", by which a client asks what there is
        facts.memory["ssh"] = SSH_ASKED
    elif 0 < size <= SSH_ACCEPT_MAX:
        facts.add("auth_failures", 1)


def _http(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    requests, codes = len(fields.get("http_request_method", ())), numbers(fields, "http_response_code")
    if not requests and not codes:
        return
    facts.confirm("http")
    facts.add("requests", requests)
    if requests:
        said = (*fields.get("http_authorization", ()), *fields.get("http_proxy_authorization", ()))
        facts.memory["http"] = any(text[:6].lower() == "basic " for text in said)
    facts.add("error_replies", sum(c >= 400 for c in codes))
    facts.add("auth_failures", sum(c in (401, 403, 407) for c in codes))
    facts.add("auth_successes", sum(200 <= c < 300 for c in codes) if facts.memory.get("http") else 0)


def _text_protocol(service: str, command: str, code: str, denied: Codes, granted: Codes) -> Handler:
    def handle(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
        commands = fields.get(command, ())
        if not commands and code not in fields:
            return
        if commands:  # a greeting alone, as a port scan gets it, is no session
            facts.confirm(service)
        facts.add("requests", len(commands))
        facts.replies(numbers(fields, code), denied, granted)

    return handle


def _pop(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    replies = fields.get("pop_response_indicator", ())
    if not replies and "pop_request_command" not in fields:
        return
    facts.confirm("pop3")
    facts.add("requests", len(fields.get("pop_request_command", ())))
    facts.add("error_replies", sum(r == "-ERR" for r in replies))


def _imap(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    replies = fields.get("imap_response_status", ())
    facts.confirm("imap")
    facts.add("requests", len(fields.get("imap_request_command", ())))
    facts.add("error_replies", sum(r.upper() in ("NO", "BAD") for r in replies))


def _sip(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    methods, codes = fields.get("sip_Method", ()), numbers(fields, "sip_Status-Code")
    if not methods and not codes:
        return
    facts.confirm("sip")
    facts.add("requests", len(methods))
    tries = facts.memory.get("sip", 0)  # requests with credentials that were not answered yet
    tries += "sip_Authorization" in fields or "sip_Proxy-Authorization" in fields
    if codes:
        # The first 401 or 407 only says which credentials are wanted; on the way to an answer come 1xx.
        facts.replies(codes, (401, 403, 407) if tries else (403,), range(200, 300) if tries else ())
        if max(codes) >= 200:  # who is let in has no other tries under way: what is left of them was sent twice
            tries = 0 if max(codes) < 300 else max(tries - 1, 0)
    facts.memory["sip"] = tries


def _mqtt(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    kinds, connack = numbers(fields, "mqtt_msgtype"), numbers(fields, "mqtt_conack_val")
    # MQTT 5 acknowledges with a reason code, 0x80 and up is a refusal, as 0x80 in a SUBACK is before it.
    reasons = [c for name in ("puback", "suback") for c in numbers(fields, f"mqtt_{name}_reason_code")]
    reasons += numbers(fields, "mqtt_suback_qos")
    if not kinds:
        return
    facts.confirm("mqtt")
    refused = sum(c != 0 for c in connack) + sum(c >= 0x80 for c in reasons)
    facts.add("requests", sum(k in (1, 3, 8, 10) for k in kinds))
    facts.add("error_replies", refused)
    facts.add("mqtt_publishes", kinds.count(3))
    facts.add("mqtt_refused", refused)
    facts.add("auth_failures", sum(c in (4, 5, 0x86, 0x87, 0x8C) for c in connack))
    facts.add("auth_successes", connack.count(0))


def _ldap(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    operations, results = numbers(fields, "ldap_protocolOp"), numbers(fields, "ldap_resultCode")
    if not operations:
        return
    facts.confirm("ldap")
    facts.add("requests", sum(o in (0, 3, 6, 8, 10, 12, 14, 16, 23) for o in operations))
    facts.add("error_replies", sum(r not in (0, 14) for r in results))  # 14: the SASL exchange goes on
    bound = results if 1 in operations else []
    facts.add("auth_failures", sum(r in (48, 49, 50, 53) for r in bound))
    facts.add("auth_successes", bound.count(0))


def _smb(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    if "tcp_len" not in fields:  # NetBIOS datagrams: announcements, no sessions
        return
    facts.confirm("smb")
    facts.start("requests", "error_replies", "auth_failures", "auth_successes")
    for prefix, session_setup in (("smb2", 1), ("smb", 0x73)):
        commands = numbers(fields, f"{prefix}_cmd")
        answers = numbers(fields, f"{prefix}_flags_response")
        statuses = numbers(fields, f"{prefix}_nt_status")
        facts.add("requests", answers.count(0))
        facts.add("error_replies", sum(s >= 0xC0000000 for s in statuses))
        facts.add("auth_failures", sum(s in SMB_LOGON_FAILURES for s in statuses))
        if session_setup in commands and any(answers):
            facts.add("auth_successes", statuses[:1].count(0))


def _kerberos(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    kinds, errors = numbers(fields, "kerberos_msg_type"), numbers(fields, "kerberos_error_code")
    if not kinds:
        return
    facts.confirm("krb_tcp" if "tcp_len" in fields else "krb")
    facts.add("requests", sum(k in (10, 12) for k in kinds))
    facts.add("error_replies", sum(e != 25 for e in errors))  # 25 only asks for pre-authentication
    facts.add("auth_failures", sum(e in (6, 18, 24) for e in errors))  # unknown name, locked, wrong password
    facts.add("auth_successes", kinds.count(11))


def _radius(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    codes = numbers(fields, "radius_code")
    facts.confirm("radius")
    facts.add("requests", sum(c in (1, 4) for c in codes))
    facts.add("error_replies", codes.count(3))
    facts.add("auth_failures", codes.count(3))
    facts.add("auth_successes", codes.count(2))


def _telnet(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    facts.confirm("telnet")
    facts.start("auth_failures")
    facts.add("auth_failures", sum(len(TELNET_REFUSALS.findall(t)) for t in fields.get("telnet_data", ())))


def _mysql(facts: AppFacts, fields: Fields, from_orig: bool, _ts: float) -> None:
    errors = numbers(fields, "mysql_error_code")
    facts.confirm("mysql")
    facts.add("requests", int(from_orig))
    facts.add("error_replies", len(errors))
    facts.add("auth_failures", sum(e in (1044, 1045, 1698) for e in errors))


def _pgsql(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    codes = fields.get("pgsql_code", ())
    facts.confirm("postgresql")
    facts.add("error_replies", len(codes))
    facts.add("auth_failures", sum(c in ("28P01", "28000") for c in codes))
    facts.add("auth_successes", numbers(fields, "pgsql_authtype").count(0))


def _vnc(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    results = numbers(fields, "vnc_auth_result")
    facts.confirm("rfb")
    facts.add("auth_failures", sum(r != 0 for r in results))
    facts.add("auth_successes", results.count(0))


def _rdp(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    facts.confirm("rdp")
    facts.add("error_replies", numbers(fields, "rdp_neg_type").count(3))  # a refusal; the rest is inside TLS


def _snmp(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    kinds = numbers(fields, "snmp_data")
    facts.confirm("snmp")
    facts.add("requests", sum(k in (0, 1, 3, 5, 6) for k in kinds))
    facts.add("error_replies", sum(e != 0 for e in numbers(fields, "snmp_error_status")) if 2 in kinds else 0)


def _dicom(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    kinds = numbers(fields, "dicom_pdu_type")
    if not kinds:
        return
    facts.confirm("dicom")
    facts.add("requests", sum(k in (1, 5) for k in kinds))
    facts.add("error_replies", sum(k in (3, 7) for k in kinds))  # association rejected, aborted


def _modbus(facts: AppFacts, fields: Fields, from_orig: bool, _ts: float) -> None:
    codes, exceptions = numbers(fields, "modbus_func_code"), len(fields.get("modbus_exception_code", ()))
    if not codes:
        return
    facts.confirm("modbus")
    facts.add("requests", len(codes) if from_orig else 0)
    facts.add("error_replies", exceptions)
    facts.add("ics_writes", sum(c in MODBUS_WRITES for c in codes) if from_orig else 0)
    facts.add("ics_exceptions", exceptions)


def _dnp3(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    codes = numbers(fields, "dnp3_al_func")
    refused = max(sum(numbers(fields, f"dnp3_al_iin_{bit}")) for bit in ("fcni", "obju", "pioor"))
    facts.confirm("dnp3_tcp" if "tcp_len" in fields else "dnp3_udp")
    facts.add("requests", sum(0 < c < 0x80 for c in codes))
    facts.add("error_replies", refused)
    facts.add("ics_writes", sum(c in DNP3_OPERATES for c in codes))
    facts.add("ics_exceptions", refused)


def _bacnet(facts: AppFacts, fields: Fields, _from_orig: bool, _ts: float) -> None:
    kinds, services = numbers(fields, "bacapp_type"), numbers(fields, "bacapp_confirmed_service")
    errors = sum(k in (5, 6, 7) for k in kinds)  # error, reject, abort
    facts.confirm("bacnet")
    facts.add("requests", kinds.count(0))
    facts.add("error_replies", errors)
    facts.add("ics_writes", sum(s in BACNET_WRITES for s in services) if 0 in kinds else 0)
    facts.add("ics_exceptions", errors)


def _s7comm(facts: AppFacts, fields: Fields, from_orig: bool, _ts: float) -> None:
    functions = numbers(fields, "s7comm_param_func")
    facts.confirm("s7comm")
    facts.add("requests", len(functions) if from_orig else 0)
    facts.add("ics_writes", sum(f in S7_WRITES for f in functions) if from_orig else 0)


def _iec104(facts: AppFacts, fields: Fields, from_orig: bool, _ts: float) -> None:
    kinds = numbers(fields, "iec60870_asdu_typeid")
    facts.confirm("iec104")
    facts.add("ics_writes", sum(k in IEC104_COMMANDS for k in kinds) if from_orig else 0)


def _only(service: str) -> Handler:
    return lambda facts, _fields, _from_orig, _ts: facts.confirm(service)


HANDLERS: dict[str, Handler] = {
    "dns": _dns, "mdns": _dns, "llmnr": _dns, "nbns": _dns,
    "tls": _tls, "dtls": _dtls, "ssh": _ssh, "http": _http,
    "ftp": _text_protocol("ftp", "ftp_request_command", "ftp_response_code", (530,), (230,)),
    "smtp": _text_protocol("smtp", "smtp_req_command", "smtp_response_code", (535,), (235,)),
    "pop": _pop, "imap": _imap, "sip": _sip, "mqtt": _mqtt, "ldap": _ldap, "cldap": _ldap,
    "smb": _smb, "smb2": _smb, "kerberos": _kerberos, "radius": _radius, "telnet": _telnet,
    "mysql": _mysql, "pgsql": _pgsql, "vnc": _vnc, "rdp": _rdp, "snmp": _snmp, "dicom": _dicom,
    "modbus": _modbus, "dnp3": _dnp3, "bacapp": _bacnet, "s7comm": _s7comm, "iec60870_asdu": _iec104,
    "hl7": _only("hl7"), "dhcp": _only("dhcp"), "bootp": _only("dhcp"), "dhcpv6": _only("dhcp"),
    "ntp": _only("ntp"), "ftp-data": _only("ftp-data"), "irc": _only("irc"), "syslog": _only("syslog"),
    "tftp": _only("tftp"), "socks": _only("socks"), "xmpp": _only("xmpp"), "quic": _only("quic"),
    "websocket": _only("websocket"), "ntlmssp": _only("ntlm"), "gss-api": _only("gssapi"),
    "dcerpc": _only("dce_rpc"), "resp": _only("redis"), "http2": _only("http"), "opcua": _only("opcua"),
    "enip": _only("enip"), "stun": _only("stun"), "rtsp": _only("rtsp"), "coap": _only("coap"),
    "bgp": _only("bgp"), "isakmp": _only("ipsec"), "wg": _only("wireguard"), "openvpn": _only("openvpn"),
}  # fmt: skip


@lru_cache(maxsize=4096)
def _handlers(protocols: str) -> tuple[Handler, ...]:
    """The handlers for tshark's layer list ("eth:ethertype:ip:tcp:http"), innermost connection only.

    An ICMP error carries the beginning of somebody else's packet: none of it is this connection's.
    """
    layers = protocols.split(":")
    last_ip = max((i for i, name in enumerate(layers) if name in ("ip", "ipv6")), default=-1)
    if "icmp" in layers or "icmpv6" in layers:
        return ()
    found = (HANDLERS.get(name) for name in layers[last_ip + 1 :])
    return tuple(dict.fromkeys(h for h in found if h is not None))
