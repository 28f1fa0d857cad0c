"""Devices told what nobody should tell them: shapes of misuse of Modbus, BACnet, HL7, DICOM, MQTT, SNMP, printers.

Only well-known protocol requests and bounded odd messages; nothing here exploits a fault of a program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from .clients import SSH
from .impostor import mqtt_connect, mqtt_publish
from .plan import PASSWORD, USER
from .timed import ask_udp, beats, say

if TYPE_CHECKING:
    from .context import Context

OWN_PORTS = range(30100, 32000)  # no host's stack draws source ports from here: what tells an implant's from its host's


def _link(ctx: Context, target: str, port: int, own_ports: bool) -> socket.socket | None:
    """A connection, from a port of OWN_PORTS where the host has honest connections to the same service."""
    if not own_ports:
        return ctx.connect(target, port, 3)
    for _ in range(5):
        with contextlib.suppress(OSError):
            return socket.create_connection((target, port), 3, ("", ctx.rng.choice(OWN_PORTS)))
    return None


def modbus(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    functions: tuple[int, ...] = (6,),
    period: float = 2,
    per_connection: int = 3,
    units: tuple[int, ...] = (1,),
    first: int = 0,
    span: int = 100,
    wrong_length: bool = False,
    own_ports: bool = False,
) -> None:
    """Requests with these function codes (5, 6, 15, 16 write; others are a scan) over short connections."""
    for number in beats(ctx, seconds, period):
        target = targets[number % len(targets)]
        if s := _link(ctx, target, 502, own_ports):
            with s, contextlib.suppress(OSError):
                s.settimeout(2)
                for step in range(per_connection):
                    function = functions[(number * per_connection + step) % len(functions)]
                    at, count = first + ctx.rng.randrange(span), ctx.rng.randint(1, 12)
                    body = struct.pack(">HH", at, ctx.rng.choice([0, 0xFF00]) if function == 5 else count)
                    if function in (15, 16):
                        size = 2 * count if function == 16 else (count + 7) // 8
                        body += bytes([size]) + os.urandom(size)
                    length = 2 + len(body) + (ctx.rng.choice([-1, 1, 90]) if wrong_length else 0)
                    s.sendall(struct.pack(">HHHBB", step, 0, length, ctx.rng.choice(units), function) + body)
                    if not s.recv(300):
                        break


def bacnet_write(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 2, kind: int = 2, prop: int = 85,
    priority: int = 8, port: int = 47808, read_first: bool = False,
) -> None:  # fmt: skip
    """BACnet WriteProperty (kind 2: analog value, 5: binary value) from a fresh port each time."""
    for number in beats(ctx, seconds, period):
        target = targets[number % len(targets)]
        what = b"\x0c" + struct.pack(">I", kind << 22 | ctx.rng.randrange(8)) + bytes([0x19, prop])
        value = b"\x3e\x44" + struct.pack(">f", ctx.rng.uniform(0, 80)) + b"\x3f" if kind == 2 else b"\x3e\x91\x01\x3f"
        for service, body in ((12, what), (15, what + value + bytes([0x49, priority])))[0 if read_first else 1 :]:
            apdu = bytes([0x00, 0x05, number & 255, service]) + body
            ask_udp(target, port, struct.pack(">BBH", 0x81, 0x0A, len(apdu) + 6) + b"\x01\x04" + apdu, 0.6)


def hl7_forge(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    period: float = 2,
    kinds: tuple[str, ...] = ("ORU^R01",),
    per_connection: int = 1,
    lines: int = 6,
    sender: str = "LAB",
    port: int = 2575,
) -> None:
    """HL7 messages from a host that no interface knows: results, orders, merged or moved patients."""
    for number in beats(ctx, seconds, period):
        messages = []
        for _ in range(per_connection):
            kind, patient = ctx.rng.choice(kinds), ctx.rng.randrange(10**6)
            rows = [f"MSH|^~\\&|{sender}|STM|RIS|STM|20260101||{kind}|F{number}|P|2.5", f"PID|1||T{patient}||TEST^LAB"]
            if kind.startswith("ADT"):
                rows += [f"MRG|T{ctx.rng.randrange(10**6)}", "PV1|1|I|W1^9"]
            else:
                rows += [f"OBX|{n}|NM|{n}^TEST||{ctx.rng.uniform(900, 999):.1f}|u|||||C" for n in range(lines)]
            messages.append(b"\x0b" + "\r".join(rows).encode() + b"\r\x1c\r")
        say(ctx, targets[number % len(targets)], port, messages)


def image(number: int, edge: int) -> Any:
    """A random picture of edge × edge as a CT image."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.PatientName, made.PatientID, made.InstanceNumber = "TEST^LAB", "T1", number
    made.Rows = made.Columns = edge
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelData = os.urandom(edge * edge * 2)
    return made


def dicom_stranger(
    ctx: Context,
    targets: list[str],
    seconds: float = 60,
    period: float = 3,
    actions: tuple[str, ...] = ("find",),
    titles: tuple[str, ...] = ("ECHOSCU",),
    called: str = "STMPACS",
    port: int = 104,
    edge: int = 32,
) -> None:
    """An unknown application entity asks for patients (find), for a transfer (move), or stores pictures."""
    from pydicom.dataset import Dataset
    from pynetdicom import AE
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]
        CTImageStorage,
        ModalityWorklistInformationFind,
        PatientRootQueryRetrieveInformationModelFind,
        PatientRootQueryRetrieveInformationModelMove,
        Verification,
    )

    query = Dataset()
    query.QueryRetrieveLevel, query.PatientName, query.PatientID, query.StudyInstanceUID = "STUDY", "*", "", ""
    for number in beats(ctx, seconds, period):
        ae = AE(ae_title=ctx.rng.choice(titles))
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
        for sop in (Verification, ModalityWorklistInformationFind, PatientRootQueryRetrieveInformationModelFind,
                    PatientRootQueryRetrieveInformationModelMove, CTImageStorage):  # fmt: skip
            ae.add_requested_context(sop)
        association = ae.associate(targets[number % len(targets)], port, ae_title=called)
        if not association.is_established:
            continue
        action = ctx.rng.choice(actions)
        with contextlib.suppress(ValueError, RuntimeError):
            if action == "echo":
                association.send_c_echo()
            elif action == "worklist":
                list(association.send_c_find(query, ModalityWorklistInformationFind))
            elif action == "find":
                list(association.send_c_find(query, PatientRootQueryRetrieveInformationModelFind))
            elif action == "move":
                list(association.send_c_move(query, "STRANGER", PatientRootQueryRetrieveInformationModelMove))
            else:
                association.send_c_store(image(number, edge))
        association.abort() if ctx.rng.random() < 0.2 else association.release()


def pump_orders(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 2, orders: int = 3, client: str = "tool",
    what: str = "rate", roles: tuple[str, ...] = ("pump",), subscribe: bool = False,
) -> None:  # fmt: skip
    """Set-points published to pumps by somebody who knows the broker's password; maybe reading along first."""
    devices = ctx.plan.role(*roles)
    for _ in beats(ctx, seconds, period):
        parts = [mqtt_connect(f"{client}{ctx.rng.randrange(10**4)}")]
        if subscribe:
            parts.append(b"\x82\x06\0\1\0\1#\0")
        publish = b"".join(
            mqtt_publish(f"ward/{ctx.rng.choice(devices).name}/command",
                         f'{{"{what}": {ctx.rng.uniform(0, 999):.1f}}}'.encode()) for _ in range(orders)
        )  # fmt: skip
        say(ctx, targets[0], 1883, [*parts, publish + b"\xc0\0", b"\xe0\0"], timeout=2)


def snmp_set(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 2, community: str = "private",
    names: tuple[str, ...] = ("1.3.6.1.2.1.1.6.0",), version: str = "2c",
) -> None:  # fmt: skip
    """snmpset of location, contact or an interface's state; most agents refuse."""
    for number in beats(ctx, seconds, period):
        kind = ["i", "2"] if names[number % len(names)].startswith("1.3.6.1.2.1.2") else ["s", "moved"]
        ctx.command(["snmpset", f"-v{version}", "-c", community, "-t", "0.5", "-r", "0",
                     targets[number % len(targets)], names[number % len(names)], *kind], 3)  # fmt: skip


def admin_share(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 3, shares: tuple[str, ...] = ("IPC$",),
    pipe: str = "svcctl", known: bool = True, port: int = 445,
) -> None:  # fmt: skip
    """Lateral movement's shape with impacket: SMB login, administrative shares, a named pipe opened and closed."""
    from impacket.smbconnection import SMBConnection

    for number in beats(ctx, seconds, period):
        target = targets[number % len(targets)]
        with contextlib.suppress(Exception):  # impacket raises many kinds; a refusal is an answer
            link = SMBConnection(target, target, sess_port=port, timeout=4)
            try:
                link.login(USER, PASSWORD if known else f"Wrong{number}")
                for share in shares:
                    with contextlib.suppress(Exception):
                        tree = link.connectTree(share)
                        if share == "IPC$":
                            link.closeFile(tree, link.openFile(tree, pipe))
            finally:
                link.close()


def ssh_hop(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 3, words: str = "id; uname -a",
    copy: int = 0,
) -> None:  # fmt: skip
    """Log in with the right password on one host after the other, run harmless words, perhaps leave some bytes."""
    for number in beats(ctx, seconds, period):
        line = ["sshpass", "-p", PASSWORD, "ssh", *SSH, f"{USER}@{targets[number % len(targets)]}"]
        ctx.command([*line, f"head -c {copy} >/dev/null" if copy else words], 8, "x" * copy)


def console(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 4,
    words: tuple[str, ...] = ("show config", "stop", "set 1 0"), gap: float = 0.3,
) -> None:  # fmt: skip
    """Log in at a telnet console with the right password and give orders."""
    lines = [w.encode() + b"\r\n" for w in (USER, PASSWORD, *words)]
    for number in beats(ctx, seconds, period):
        say(ctx, targets[number % len(targets)], 23, [b"\xff\xfd\x01", *lines], gap)


def printer_job(
    ctx: Context, targets: list[str], seconds: float = 60, period: float = 3,
    lines: tuple[str, ...] = ("INFO STATUS", "RDYMSG DISPLAY=\"hello\""), port: int = 9100,
) -> None:  # fmt: skip
    """PJL lines sent to a printer's raw port: settings, file lists, the display."""
    for number in beats(ctx, seconds, period):
        if s := ctx.connect(targets[number % len(targets)], port, 3):
            with s, contextlib.suppress(OSError):
                s.settimeout(2)
                chosen = ctx.rng.sample(lines, ctx.rng.randint(1, len(lines)))
                s.sendall(b"\x1b%-12345X@PJL\r\n" + b"".join(f"@PJL {w}\r\n".encode() for w in chosen))
                s.shutdown(socket.SHUT_WR)
                s.recv(1000)


def odd_messages(
    ctx: Context, targets: list[str], seconds: float = 60, port: int = 2575, period: float = 1.5,
    kinds: tuple[str, ...] = ("long",), size: int = 20_000,
) -> None:  # fmt: skip
    """Oversized, cut, repeated or mistyped messages of the port's protocol; at most 200 kB, letters and zeros only."""
    size = min(size, 200_000)
    for number in beats(ctx, seconds, period):
        kind = kinds[number % len(kinds)]
        good = {
            2575: b"\x0bMSH|^~\\&|X|X|X|X|20260101||ORU^R01|1|P|2.5\r",
            104: b"\1\0" + struct.pack(">I", 68) + b"\0\1\0\0" + b"STMPACS".ljust(16) + b"ODD".ljust(16) + b"\0" * 32,
            502: b"\0\1\0\0\0\6\1\3\0\0\0\1",
            1883: mqtt_connect("odd"),
        }.get(port, b"HELLO\r\n")
        body = {
            "long": good + b"A" * size,
            "cut": good[: len(good) // 2],
            "zeros": b"\0" * min(size, 2000),
            "letters": b"A" * min(size, 4000),
            "repeat": good * min(60, size // len(good) + 1),
            "type": b"\xf7" + good[1:],
        }[kind]
        say(ctx, targets[number % len(targets)], port, [body], timeout=1)
