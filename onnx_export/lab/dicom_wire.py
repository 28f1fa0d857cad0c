"""The few DICOM packets that attacks write themselves: associate, echo, release, abort."""

from __future__ import annotations

import socket
import struct

ABORT = bytes.fromhex("07000000000400000000")
_RELEASE = bytes.fromhex("05000000000400000000")
_VERIFICATION = b"1.2.840.10008.1.1"


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def request(called: str, calling: str) -> bytes:
    """An A-ASSOCIATE-RQ for the verification service between two application entity titles."""
    context = b"\1\0\0\0" + _item(0x30, _VERIFICATION) + _item(0x40, b"1.2.840.10008.1.2")
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.826.0.1.3680043.9.3811.0.9.0")
    titles = called.encode()[:16].ljust(16), calling.encode()[:16].ljust(16)
    body = struct.pack(">HH16s16s32x", 1, 0, *titles)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def _echo() -> bytes:
    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    rest = element(2, _VERIFICATION + b"\0") + element(0x100, b"\x30\0") + element(0x110, b"\1\0")
    command = element(0, struct.pack("<I", len(rest) + 10)) + rest + element(0x800, b"\1\1")
    return struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3) + command


def associate(s: socket.socket, called: str, calling: str) -> bool:
    """Ask for an association; True when it is accepted."""
    s.sendall(request(called, calling))
    return s.recv(2000)[:1] == b"\2"


def echo(s: socket.socket) -> None:
    """One C-ECHO on an accepted association."""
    s.sendall(_echo())
    s.recv(2000)


def release(s: socket.socket) -> None:
    """End the association in order."""
    s.sendall(_RELEASE)
    s.recv(100)
