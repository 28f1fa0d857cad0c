"""Medical and building devices: DICOM, HL7, MQTT, Modbus."""

from __future__ import annotations

import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from . import habits
from .plan import PASSWORD, USER

if TYPE_CHECKING:
    from .context import Context


def dicom_client(ctx: Context, period: float = 50, images: int = 6, edge: int = 96) -> None:
    """A modality: worklist, echo, then a study sent as a burst of C-STOREs, one association or one each."""
    from pynetdicom import AE
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]
        CTImageStorage,
        ModalityWorklistInformationFind,
        Verification,
    )

    ae = AE(ae_title=ctx.host.name.upper()[:16])
    for sop in (CTImageStorage, ModalityWorklistInformationFind, Verification):
        ae.add_requested_context(sop)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    pacs = ctx.plan.one("pacs").ip
    while ctx.pause(period, 0.7):
        each = ctx.rng.random() < 0.4
        association = ae.associate(pacs, 104)
        if not association.is_established:
            continue
        association.send_c_echo()
        for _ in association.send_c_find(_query(), ModalityWorklistInformationFind):
            pass
        for number in range(ctx.rng.randint(1, images)):
            if each:
                association.release()
                association = ae.associate(pacs, 104)
            if association.is_established:
                association.send_c_store(_image(ctx, number, edge))
            ctx.pause(0.15, 0.9)
        if association.is_established:
            association.release()


def _query() -> Any:
    from pydicom.dataset import Dataset

    query = Dataset()
    query.PatientName = "*"
    query.PatientID = ""
    return query


def _image(ctx: Context, number: int, edge: int) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid

    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.PatientName, image.PatientID, image.InstanceNumber = "TEST^LAB", "T1", number
    edge = max(8, int(edge * ctx.plan.volume**0.5))
    image.Rows = image.Columns = edge
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = os.urandom(edge * edge * 2)
    return image


def hl7_client(ctx: Context, to: str = "ris", period: float = 15) -> None:
    """ADT and ORU messages over MLLP; some senders keep the connection, some open one per message."""
    server = ctx.plan.one(to).ip
    keep = ctx.rng.random() < 0.4
    link: socket.socket | None = None
    count = 0
    while ctx.pause(period, 0.8):
        link = link or ctx.connect(server, 2575)
        if link is None:
            continue
        try:
            for _ in range(ctx.rng.choice([1, 1, 1, 2, 5])):
                count += 1
                link.sendall(_message(ctx, count))
                link.settimeout(8)
                if not link.recv(4096):
                    raise ConnectionError
        except OSError:
            link.close()
            link = None
            continue
        if not keep or ctx.rng.random() < 0.05:
            link.close()
            link = None


def _message(ctx: Context, count: int) -> bytes:
    kind = ctx.rng.choice(["ADT^A01", "ADT^A08", "ORU^R01", "ORU^R01"])
    lines = [f"MSH|^~\\&|{ctx.host.name}|STM|RIS|STM|20260101||{kind}|{ctx.host.name}{count}|P|2.5",
             f"PID|1||T{ctx.rng.randrange(10**6)}^^^STM||TEST^LAB||19700101|F"]  # fmt: skip
    if kind.startswith("ORU"):
        lines += [f"OBX|{n}|NM|{ctx.rng.randrange(99999)}^TEST||{ctx.rng.uniform(1, 200):.1f}|u|||||F"
                  for n in range(ctx.rng.randint(1, 25))]  # fmt: skip
    elif ctx.rng.random() < 0.03:
        lines = ["BAD|" + lines[0]]
    return b"\x0b" + "\r".join(lines).encode() + b"\r\x1c\r"


def mqtt_client(ctx: Context, period: float = 8, clients: int = 1, session: float = 150, tls: bool = False) -> None:
    """Pumps and monitors publishing readings; they reconnect now and then, one mistypes its password once."""
    for number in range(clients):
        threading.Thread(target=_mqtt_device, args=(ctx, number, period, session, tls), daemon=True).start()
    ctx.pause(1e9, 0)


def _mqtt_login(ctx: Context, name: str, tls: bool) -> Any:
    """A client that logs in; version, session, keep-alive, will and dialect are drawn as a maker would choose them."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    version = ctx.rng.choice([mqtt.MQTTv311, mqtt.MQTTv311, mqtt.MQTTv5])
    clean = ctx.rng.random() < 0.6
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version,
                         clean_session=None if version == mqtt.MQTTv5 else clean)  # fmt: skip
    client.username_pw_set(USER, PASSWORD)
    client.reconnect_delay_set(1, 8)
    if ctx.rng.random() < 0.4:
        client.will_set(f"ward/{ctx.host.name}/state", b"gone", qos=1, retain=True)
    if tls:
        client.tls_set_context(habits.tls_client(ctx))
        client.tls_insecure_set(True)
    return client


def _mqtt_device(ctx: Context, number: int, period: float, session: float, tls: bool) -> None:
    if not ctx.pause(ctx.rng.uniform(1, 25)):
        return
    wrong, port = ctx.rng.random() < 0.1, 8883 if tls else 1883
    keepalive = ctx.rng.choice([10, 20, 30, 60, 120, 300])
    if ctx.rng.random() < 0.3:  # this one stays connected
        session *= 20
    period, jitter = habits.around(ctx, period, 1.6), ctx.rng.choice([0.02, 0.2, 0.6])
    qualities, size = ctx.rng.choice([[0], [1], [0, 1], [0, 1, 2], [2]]), ctx.rng.choice([20, 80, 300, 1200])
    topic = ctx.rng.choice(["ward/{}/{}", "devices/{}/vitals/{}", "hl7/{}/out/{}", "v1/{}/telemetry/{}"])
    topic, listens = topic.format(ctx.host.name, number), ctx.rng.random() < 0.6
    while True:
        client = _mqtt_login(ctx, f"{ctx.host.name}-{number}", tls)
        if wrong:
            client.username_pw_set(USER, "old")
            wrong = False
        try:
            client.connect(ctx.plan.one("broker").ip, port, max(5, int(keepalive / habits.compress(ctx))))
            client.loop_start()
            left = session * ctx.rng.uniform(0.3, 1.5)
            if listens:
                client.subscribe(f"ward/{ctx.host.name}/command", qos=qualities[-1])
            while left > 0 and ctx.pause(period, jitter):
                left -= period
                client.publish(topic, os.urandom(int(size * ctx.rng.uniform(0.7, 1.3))), qos=ctx.rng.choice(qualities))
            client.disconnect()
            client.loop_stop()
        except (OSError, ValueError):
            pass
        if not ctx.pause(3):
            return


def mqtt_subscriber(ctx: Context, session: float = 3600, tls: bool = False, commands: float = 120) -> None:
    """A station that follows a ward's readings, for hours or for a short look; some send commands to devices."""
    keepalive, quality = ctx.rng.choice([15, 60, 300]), ctx.rng.choice([0, 1, 2])
    topics = ctx.rng.choice([["#"], ["ward/#"], ["ward/+/0"], ["devices/#", "v1/#"], ["hl7/#", "ward/#"]])
    short, orders = ctx.rng.random() < 0.3, ctx.rng.random() < 0.4
    people = ctx.plan.role("pump", "bedside")
    while ctx.pause(ctx.rng.uniform(5, 60) * (20 if short else 1)):
        client = _mqtt_login(ctx, f"{ctx.host.name}-view", tls)
        try:
            client.connect(ctx.plan.one("broker").ip, 8883 if tls else 1883,
                           max(5, int(keepalive / habits.compress(ctx))))  # fmt: skip
            client.subscribe([(t, quality) for t in topics])
            client.loop_start()
            left = 60 if short else habits.around(ctx, session)
            while left > 0 and ctx.pause(min(left, commands), 0.3):
                left -= commands
                if orders and people:
                    client.publish(f"ward/{ctx.rng.choice(people).name}/command", b"limits 60-120", qos=quality)
            client.disconnect()
            client.loop_stop()
        except (OSError, ValueError):
            continue


def modbus_client(ctx: Context, period: float = 2) -> None:
    """The building's panel: reads registers over one long connection, writes one now and then."""
    while ctx.pause(2):
        plc = ctx.rng.choice(ctx.plan.role("plc"))
        link = ctx.connect(plc.ip, 502)
        if link is None:
            continue
        with link:
            link.settimeout(5)
            for transaction in range(ctx.rng.randint(5, 60)):
                draw = ctx.rng.random()
                function = 6 if draw < 0.05 else 16 if draw < 0.06 else ctx.rng.choice([3, 4])
                body = struct.pack(">BBHH", 1, function, ctx.rng.randrange(0, 90), ctx.rng.randint(1, 30))
                try:
                    link.sendall(struct.pack(">HHH", transaction, 0, len(body)) + body)
                    if not link.recv(300):
                        break
                except OSError:
                    break
                if not ctx.pause(period, 0.3):
                    return
