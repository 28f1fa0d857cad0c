"""The lab's own encodings of building, printing and remote-desktop protocols, byte by byte against their standards."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from random import Random

import pytest

from onnx_export.lab import bacnet, coap, nuisance, printing, remote, rest
from onnx_export.lab.context import Context
from onnx_export.lab.plan import Host, Plan

GET_TEMPERATURE = bytes.fromhex("4101 7d34 20 bb") + b"temperature"


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    host = Host("plc1", "plc", "building", "127.0.0.1", "02:00:00:00:00:01", 64, "1 2", False, ())
    plan = Plan(1, {"building": "127.0.0.0/24"}, (host,), ("192.0.2.9",), {"news1.org": "192.0.2.9"})
    return Context(host, plan, Random(1), time.time(), time.time() + 5, tmp_path)


def test_coap_request_of_rfc_7252_with_a_token() -> None:
    assert coap.message(coap.CON, coap.GET, 0x7D34, b"\x20", [(11, b"temperature")]) == GET_TEMPERATURE


def test_coap_options_come_back_in_order() -> None:
    options = [(12, b"\x32"), (6, b""), (11, b"x" * 20), (15, b"t=1"), (60, b"")]
    made = coap.message(coap.NON, coap.POST, 7, b"ab", options, b"21.5")
    assert coap.parse(made) == (coap.NON, coap.POST, 7, b"ab", sorted(options, key=lambda o: o[0]))


@pytest.mark.parametrize("data", [b"", b"\x40", b"\xff" * 9, GET_TEMPERATURE[:7], b"\x41\x01\0\0\x20\xdd"])
def test_broken_coap_never_raises(data: bytes) -> None:
    coap.parse(data)


def device(ctx: Context) -> bacnet.Device:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    return bacnet.Device(ctx, 1234, 5, s, 10)


def asked(ctx: Context, packet: bytes) -> bytes:
    """What a device answers to a packet from a second socket."""
    one = device(ctx)
    with one.s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.2", 0))
        peer.settimeout(1)
        one.handle(packet, peer.getsockname())
        try:
            return peer.recv(500)
        except TimeoutError:
            return b""


def test_bacnet_reads_a_present_value(ctx: Context) -> None:
    answer = asked(ctx, bacnet.unicast(bytes.fromhex("0005 07 0c 0c00000001 1955"), reply=True))
    assert answer[:4] == bytes([0x81, 0x0A, 0, len(answer)])
    assert answer[6:].startswith(bytes.fromhex("30 07 0c 0c00000001 1955 3e 44"))
    assert answer.endswith(b"\x3f")


def test_bacnet_says_unknown_object_and_survives_rubbish(ctx: Context) -> None:
    unknown = asked(ctx, bacnet.unicast(bytes.fromhex("0005 08 0c 0c000003ff 1955"), reply=True))
    assert unknown[6:] == bytes.fromhex("50 08 0c 9101 911f")
    one = device(ctx)
    rng = Random(2)
    for size in range(40):
        one.handle(bytes([0x81, 0x0A]) + rng.randbytes(size), ("127.0.0.2", 9))
    one.s.close()


def test_ipp_request_has_the_attributes_every_printer_wants() -> None:
    made = printing.ipp(printing.PRINTER, 3, "ipp://p/ipp/print", "ws1", version=b"\x01\x01")
    assert made[:9] == bytes.fromhex("0101 000b 00000003 01")
    assert made[9:32] == b"\x47\0\x12attributes-charset\0\x05u"[:23]
    assert made[-1:] == b"\x03"


def test_rdp_negotiation_is_a_tpkt_with_a_cookie() -> None:
    made = remote._x224(0xE0, b"Cookie: mstshash=imaging\r\n" + bytes.fromhex("0100080001000000"), 0)
    assert made[:4] == bytes([3, 0, 0, len(made)])
    assert (made[4], made[5]) == (len(made) - 5, 0xE0)


def test_a_fhir_resource_is_always_the_same() -> None:
    assert rest._resource("Patient", 5) == rest._resource("Patient", 5) != rest._resource("Patient", 6)


def test_an_outage_server_answers_then_refuses(ctx: Context) -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    ctx.end = time.time() + 2.2
    task = threading.Thread(target=nuisance.outage_server, args=(ctx, port, 0.4, 0.4))
    task.start()
    seen = set()
    while task.is_alive():
        found = ctx.connect("127.0.0.1", port, 0.5)
        seen.add(found is not None)
        if found:
            found.close()
        time.sleep(0.03)
    assert seen == {True, False}
