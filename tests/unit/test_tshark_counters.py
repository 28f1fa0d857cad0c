"""tshark's fields of one frame → services and counters: pure, no tshark needed."""

import random

import pytest

from pyad.flow.tshark_counters import certificate_valid, observe
from pyad.flow.tshark_facts import AppFacts, numbers
from pyad.row import COUNTERS

TCP = "eth:ethertype:ip:tcp:"
UDP = "eth:ethertype:ip:udp:"
NAMES = {f.name for f in COUNTERS}


def run(*frames, ts=1.4e9):
    """Facts of frames given as (layers, fields, from the originator)."""
    facts = AppFacts()
    for layers, fields, from_orig in frames:
        texts = {k: [str(v) for v in (vs if isinstance(vs, list) else [vs])] for k, vs in fields.items()}
        observe(facts, {"frame_protocols": [layers], **texts}, from_orig, ts)
    assert set(facts.counters) <= NAMES
    return facts


def test_nothing_seen_is_unset_not_zero():
    facts = run(("eth:ethertype:ip:tcp", {"tcp_len": 0}, True))
    assert facts.service is None
    assert facts.counters == {"weirds": 0}


def test_ftp_guessing():
    frames = []
    for code in (530, 530, 530, 230):
        frames.append((TCP + "ftp", {"ftp_request_command": "PASS"}, True))
        frames.append((TCP + "ftp", {"ftp_response_code": [code]}, False))
    facts = run(*frames, (TCP + "ftp", {"ftp_response_code": [230, 230]}, False))  # one reply of two lines
    assert facts.service == "ftp"
    assert facts.counters["auth_failures"] == 3
    assert facts.counters["auth_successes"] == 2
    assert facts.counters["requests"] == 4
    assert facts.counters["error_replies"] == 3


def test_http_success_needs_credentials():
    get, ok = {"http_request_method": "GET"}, {"http_response_code": 200}
    login = {**get, "http_authorization": "Basic x"}
    plain = run((TCP + "http", get, True), (TCP + "http", ok, False))
    assert (plain.counters["auth_successes"], plain.counters["auth_failures"]) == (0, 0)
    guessed = run(
        (TCP + "http", login, True), (TCP + "http", {"http_response_code": 401}, False),
        (TCP + "http", login, True), (TCP + "http", ok, False),
    )  # fmt: skip
    assert guessed.counters == {
        "weirds": 0, "requests": 2, "error_replies": 1, "auth_failures": 1, "auth_successes": 1
    }  # fmt: skip
    token = run((TCP + "http", {**get, "http_authorization": "Bearer x"}, True), (TCP + "http", ok, False))
    assert token.counters["auth_successes"] == 0


def test_sip_counts_answers_to_credentials():
    def ask(**credentials):
        return (UDP + "sip", {"sip_Method": "REGISTER", **credentials}, True)

    def answer(code):
        return (UDP + "sip", {"sip_Status-Code": code}, False)

    login = {"sip_Authorization": "Digest x"}
    facts = run(
        ask(), answer(401), ask(**login), answer(100), answer(401),  # asked for a password, then a wrong one
        ask(**login), answer(100), answer(200), answer(200),  # the right one, its answer sent twice
        ask(), answer(403), ask(), answer(200),  # barred; and nothing to log in to
        *[ask(**{"sip_Proxy-Authorization": "Digest x"})] * 3, *[answer(407)] * 3,  # guesses without waiting
        ask(), answer(401),
    )  # fmt: skip
    assert facts.counters == {
        "weirds": 0, "requests": 9, "error_replies": 7, "auth_failures": 5, "auth_successes": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "fields"),
    [("ssh", {"tcp_len": 41}), ("ftp", {"ftp_response_code": 220}), ("smtp", {"smtp_response_code": 220})],
)
def test_greeting_alone_is_no_service(layer, fields):
    assert run((TCP + layer, fields, False)).service is None


def test_port_alone_is_no_service():
    facts = run((TCP + "http:data", {}, True), (TCP + "ftp", {}, True), (TCP + "tls", {}, True))
    assert facts.service is None


def test_dns():
    facts = run(
        (UDP + "dns", {"dns_flags_response": 0, "dns_qry_name_len": 22}, True),
        (UDP + "dns", {"dns_flags_response": 1, "dns_flags_rcode": 3, "dns_qry_name_len": 22}, False),
        (UDP + "dns", {"dns_flags_response": 0, "dns_qry_name_len": 61}, True),
        (UDP + "dns", {"dns_flags_response": 1, "dns_flags_rcode": 2, "dns_qry_name_len": 61}, False),
    )
    assert facts.service == "dns"
    assert facts.counters["dns_queries"] == 2
    assert facts.counters["dns_nxdomain"] == 1
    assert facts.counters["error_replies"] == 2
    assert facts.counters["dns_longest_qname"] == 61


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({"tls_handshake_version": "0x0303"}, 771),
        ({"tls_handshake_version": "0x0303", "tls_handshake_extensions_supported_version": "0x0304"}, 772),
        ({"tls_handshake_version": "0x0303", "tls_handshake_extensions_supported_version": "0x7f1c"}, 772),
        ({"tls_handshake_version": "0x0300"}, 768),
    ],
)
def test_tls_version_is_the_servers_choice(fields, version):
    hello = {"tls_handshake_type": 1, "tls_handshake_version": "0x0303"}
    offered = run((TCP + "tls", hello, True))
    assert "tls_version" not in offered.counters
    chosen = run((TCP + "tls", hello, True), (TCP + "tls", {"tls_handshake_type": 2, **fields}, False))
    assert chosen.service == "ssl"
    assert chosen.counters["tls_version"] == version


def test_tls_invalid_alerts_and_expired_certificate():
    dates = ["2011-05-04 00:00:00 (UTC)", "2016-07-04 23:59:59 (UTC)"]
    certificate = (TCP + "tls", {"tls_handshake_type": [11, 14], "x509af_utcTime": dates}, False)
    assert run(certificate, ts=1.4e9).counters["tls_invalid"] == 0
    assert run(certificate, ts=1.5e9).counters["tls_invalid"] == 1
    assert run(certificate, ts=1.2e9).counters["tls_invalid"] == 1
    alerts = (TCP + "tls", {"tls_alert_message_desc": [48, 0, 80]}, True)
    assert run(alerts).counters["tls_invalid"] == 1


@pytest.mark.parametrize(
    "times",
    [
        [],
        ["2011-05-04 00:00:00 (UTC)"],
        ["x", "y"],
        ["9999-99-99 00:00:00 (UTC)"] * 2,
        ["0000-01-01 00:00:00 (UTC)"] * 2,
    ],
)
def test_dates_that_cannot_be_told_are_no_fault(times):
    assert certificate_valid(times, 1.4e9)


def test_two_digit_years():
    assert certificate_valid(["11-05-04 00:00:00 (UTC)", "16-07-04 23:59:59 (UTC)"], 1.4e9)
    assert not certificate_valid(["51-05-04 00:00:00 (UTC)", "99-07-04 23:59:59 (UTC)"], 1.4e9)


def ssh_server(*sizes):
    banner = (TCP + "ssh", {"tcp_len": 30}, True)
    newkeys = (TCP + "ssh", {"ssh_message_code": [31, 21], "tcp_len": 848}, False)
    return run(banner, newkeys, *((TCP + "ssh", {"tcp_len": size}, False) for size in sizes))


def test_ssh_sizes_tell_refusals_and_success():
    guessing = ssh_server(56, 56, 56, 56, 56)  # accept, refusal of "none", three guesses
    assert guessing.service == "ssh"
    assert guessing.counters["auth_failures"] == 3
    assert guessing.counters["auth_successes"] == 0
    login = ssh_server(200, 44, 52, 52, 28, 52, 52)  # EXT_INFO, accept, none, a guess, success, then a session
    assert (login.counters["auth_failures"], login.counters["auth_successes"]) == (1, 1)


def test_mqtt():
    facts = run(
        (TCP + "mqtt", {"mqtt_msgtype": 1}, True),
        (TCP + "mqtt", {"mqtt_msgtype": 2, "mqtt_conack_val": 5}, False),
        (TCP + "mqtt", {"mqtt_msgtype": 1}, True),
        (TCP + "mqtt", {"mqtt_msgtype": 2, "mqtt_conack_val": 0}, False),
        (TCP + "mqtt:mqtt", {"mqtt_msgtype": [3, 3, 3]}, True),
        (TCP + "mqtt", {"mqtt_msgtype": 9, "mqtt_suback_qos": [0, 128]}, False),
    )
    assert facts.counters["mqtt_publishes"] == 3
    assert facts.counters["mqtt_refused"] == 2
    assert (facts.counters["auth_failures"], facts.counters["auth_successes"]) == (1, 1)


def test_modbus_counts_writes_of_the_originator():
    facts = run(
        (TCP + "mbtcp:modbus", {"modbus_func_code": 16}, True),
        (TCP + "mbtcp:modbus", {"modbus_func_code": 16}, False),
        (TCP + "mbtcp:modbus", {"modbus_func_code": 3}, True),
        (TCP + "mbtcp:modbus", {"modbus_func_code": 3, "modbus_exception_code": 2}, False),
    )
    assert facts.service == "modbus"
    assert (facts.counters["ics_writes"], facts.counters["ics_exceptions"]) == (1, 1)
    assert facts.counters["requests"] == 2


def test_dnp3_bacnet_ldap_smb():
    dnp3 = run((TCP + "dnp3", {"dnp3_al_func": 5, "tcp_len": 30}, True))
    assert (dnp3.service, dnp3.counters["ics_writes"]) == ("dnp3_tcp", 1)
    bacnet = run(
        (UDP + "bvlc:bacnet:bacapp", {"bacapp_type": 0, "bacapp_confirmed_service": 15}, True),
        (UDP + "bvlc:bacnet:bacapp", {"bacapp_type": 5, "bacapp_confirmed_service": 15}, False),
    )
    assert (bacnet.counters["ics_writes"], bacnet.counters["ics_exceptions"]) == (1, 1)
    ldap = run(
        (TCP + "ldap", {"ldap_protocolOp": 0}, True),
        (TCP + "ldap", {"ldap_protocolOp": 1, "ldap_resultCode": 49}, False),
    )
    assert (ldap.counters["auth_failures"], ldap.counters["error_replies"]) == (1, 1)
    smb = run(
        (TCP + "nbss:smb2", {"tcp_len": 90, "smb2_cmd": 1, "smb2_flags_response": 0}, True),
        (
            TCP + "nbss:smb2",
            {"tcp_len": 90, "smb2_cmd": 1, "smb2_flags_response": 1, "smb2_nt_status": "0xc000006d"},
            False,
        ),
        (
            TCP + "nbss:smb2",
            {"tcp_len": 90, "smb2_cmd": 1, "smb2_flags_response": 1, "smb2_nt_status": "0x00000000"},
            False,
        ),
    )
    assert (smb.counters["auth_failures"], smb.counters["auth_successes"]) == (1, 1)


def test_weirds_leave_out_loss_and_checksums():
    warning, note = 0x600000, 0x400000
    fields = {
        "_ws_expert_severity": [warning, warning, note, 0x800000],
        "_ws_expert_group": [0x02000000, 0x01000000, 0x07000000, 0x07000000],
    }
    assert run((TCP + "data", fields, True)).counters["weirds"] == 1


def test_repeated_segments_count_once():
    publish = {"mqtt_msgtype": 3}
    facts = run(
        (TCP + "mqtt", publish, True), (TCP + "mqtt", {**publish, "tcp_analysis_retransmission": "1"}, True)
    )  # fmt: skip
    assert facts.counters["mqtt_publishes"] == 1


def test_what_an_icmp_error_quotes_is_not_its_own():
    quoted = {"dns_flags_response": 0, "dns_qry_name_len": 200}
    facts = run(("eth:ethertype:ip:icmp:ip:udp:dns", quoted, True))
    assert facts.service is None
    assert "dns_queries" not in facts.counters


def test_tunnelled_frame_counts_for_the_inner_connection():
    facts = run(("eth:ethertype:ip:udp:dns:ip:tcp:http", {"http_request_method": "GET"}, True))
    assert facts.service == "http"


def test_services_are_joined_in_the_order_seen():
    facts = run(
        (TCP + "smtp", {"smtp_response_code": 220}, False),
        (TCP + "smtp", {"smtp_req_command": "EHLO"}, True),
        (TCP + "smtp:tls", {"tls_handshake_type": 2, "tls_handshake_version": "0x0303"}, False),
    )
    assert facts.service == "smtp,ssl"


def test_numbers():
    fields = {"a": ["1", "0x0303", "true", "False", "", "nan", "9" * 30, "0x", "-3"]}
    assert numbers(fields, "a") == [1, 771, 1, 0, int("9" * 30), -3]
    assert numbers(fields, "b") == []


def test_hostile_texts_never_raise():
    rng = random.Random(7)
    from pyad.flow.tshark_counters import HANDLERS
    from pyad.flow.tshark_process import FIELDS

    texts = ["", "0", "-1", "0x", "0xffffffffffffffffffff", "9" * 5000, "\x00\udc80", "a:b", "1e9", "٣", "true"]
    for _ in range(400):
        facts = AppFacts()
        for _ in range(4):
            layers = ":".join(rng.choices([*HANDLERS, "ip", "tcp", "icmp", "", "x" * 99], k=6))
            fields = {name.replace(".", "_"): rng.choices(texts, k=rng.randrange(4)) for name in rng.sample(FIELDS, 20)}
            fields["frame_protocols"] = [layers]
            observe(facts, fields, rng.random() < 0.5, rng.choice([0.0, 1.4e9, -1e300, float("nan")]))
        assert set(facts.counters) <= NAMES
        assert all(isinstance(v, int) for v in facts.counters.values())
