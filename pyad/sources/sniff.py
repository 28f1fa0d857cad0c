"""What an input is, by its first bytes, and when it begins: a capture, a connection log, or neither."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from pyad.errors import InputError, printable
from pyad.flow.formats import MAX_TIME_S, PCAP_MAGICS, PCAPNG_MAGIC
from pyad.row import REQUIRED
from pyad.sources.base import ReadReport
from pyad.sources.stored import STDIN, peek
from pyad.sources.zeek_json import json_names
from pyad.sources.zeek_tsv import Header

PEEK_BYTES = 1 << 16

_OTHER_MAGIC = (
    (b"BZh", "bzip2-compressed: unpack it first"),
    (b"\xfd7zXZ", "xz-compressed: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "a PDF"),
    (b"PAR1", "a Parquet table"),
    (b"XCP\0", "a NetXRay or Sniffer capture: convert it with editcap -F pcap"),
    (b"snoop\0\0\0", "a snoop capture: convert it with editcap -F pcap"),
)

# Columns only a connection log has: what tells dns.log or http.log, which share the rest, from conn.log.
_CONN_ONLY = frozenset({"duration", "orig_bytes", "resp_bytes", "conn_state", "history", "orig_pkts", "resp_pkts"})
_LOG_NAME = re.compile(r"[a-z][a-z0-9_]*")
# conn.log, conn.2026-01-01.log.gz, conn_2026.json; not conn_long.log, conn-summary.log
_CONN_NAME = re.compile(r"conn(?![-_][a-z])")
CONN = "conn"  # the path of Zeek's connection log


def detect(path: Path) -> str:
    """`"pcap"` (pcapng too) or `"conn_log"`, by content, looked at through gzip and zstd; `-` is a conn.log.

    Raises InputError for anything else, saying what it looks like, and for what cannot be opened.
    """
    if path == STDIN:
        return "conn_log"
    head = peek(path, PEEK_BYTES)
    if head[:4] in PCAP_MAGICS or head.startswith(PCAPNG_MAGIC):
        return "pcap"
    if _is_log(head):
        return "conn_log"
    raise InputError(str(path), "", *_looks_like(head))


def foreign_log(path: Path, log_path: str, names: Iterable[str]) -> str:
    """The name of the other Zeek log (`dns`, `http`, …) this is, or empty when it may well be a conn.log.

    log_path: the header's `#path` or the JSON `_path`; without it the file's name decides (`dns.log`). A site may
    call its connection log anything, so a name alone refuses nothing that has a column only connections have.
    """
    has = set(names)
    if _CONN_ONLY & has and has.issuperset(REQUIRED):
        return ""
    told = log_path
    if not told and ".log" in path.name:
        match = _LOG_NAME.match(path.name)
        told = match[0] if match else ""
        if told not in _ZEEK_LOGS:
            return ""
    return "" if told.startswith("conn") else told


_ZEEK_LOGS = frozenset(
    """
    analyzer capture_loss dce_rpc dhcp dnp3 dns dpd files ftp http intel irc kerberos known_certs known_hosts
    known_services ldap ldap_search loaded_scripts modbus mqtt_connect mqtt_publish mqtt_subscribe mysql notice ntlm
    ntp ocsp packet_filter pe postgresql pyad quic radius rdp redis reporter rfb signatures sip smb_cmd smb_files
    smb_mapping smtp snmp socks software ssh ssl stats syslog telemetry tunnel weird websocket x509
    """.split()
)


def first_time(path: Path) -> float | None:
    """When an input begins, in s since the epoch: a capture's first packet, the end of a log's first connection.

    None when the beginning does not say, and for `-`.
    """
    try:
        if path == STDIN:
            return None
        if detect(path) == "conn_log":
            return _log_time(path)
    except InputError:
        return None
    begin = first_packet(path)
    return begin and begin[1]


def first_packet(path: Path) -> tuple[int, float] | None:
    """Link type and time of a capture's first packet with a time that can be; None when the beginning has none."""
    # Imported here: the reader of captures builds on this package.
    from pyad.flow.capture import read_packets

    try:
        with closing(read_packets(path)) as batches:
            for link_type, packets in batches:
                return next(((link_type, ts) for ts, _, _ in packets if 0 <= ts < MAX_TIME_S), None)
    except InputError:
        pass
    return None


def _is_log(head: bytes) -> bool:
    text = head.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    if text.startswith(("#separator", "#fields", "{")):
        return True
    first = text.split("\n", 1)[0]
    if text.startswith("#"):  # other comments first
        return "\n#fields" in text or "\n#separator" in text
    return len(set(REQUIRED) & set(first.rstrip("\r").split("\t"))) >= 2  # Zeek's LogAscii::tsv: bare names


def _looks_like(head: bytes) -> tuple[str, str]:
    """(what is wrong, what to do) for content that is neither."""
    hint = "give a pcap, a pcapng or a Zeek conn.log"
    if not head:
        return "the file is empty", "leave it out, or see what should have written it"
    for magic, what in _OTHER_MAGIC:
        if head.startswith(magic):
            return f"neither a capture nor a conn.log: {what}", hint
    if head.lstrip().startswith(b"["):
        return "a JSON array, not one object per line", "convert it with jq -c '.[]'"
    start = head[:40].split(b"\n", 1)[0].decode("utf-8", "backslashreplace")
    return f"neither a capture nor a conn.log (it begins '{printable(start, 40)}')", hint


def is_conn_log(path: Path) -> bool:
    """Whether a log is Zeek's conn.log itself: by the path it tells, else by its columns and its file's name.

    conn_long.log and its like repeat what conn.log holds. One whose path is conn is taken whatever it lacks: it will
    then say itself what is missing.
    """
    try:
        head = peek(path).decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    except InputError:
        return True  # it will say so itself
    header = Header()
    first = ""
    for line in head.split("\n"):
        first = line.rstrip("\r")
        if not first.startswith("#"):
            break
        header = header.with_line(first)
    log_path, names = header.path, set(header.fields)
    if first.startswith("{"):
        log_path, names = json_names(first)
    elif not names:
        names = set(first.split("\t"))
    if log_path:
        return log_path == CONN
    return names.issuperset(REQUIRED) and _CONN_NAME.match(path.name) is not None


def _log_time(path: Path) -> float | None:
    """When the first row's connection ended: that, and not when it began, is the order of a log's rows."""
    from pyad.sources.conn_log import read_conn_log

    for first in read_conn_log(path, ReadReport(), chunk_rows=1):
        return float(first.end_time()[0])
    return None
