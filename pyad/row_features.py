"""What one row says by itself, as numbers: sizes, outcome, history, service family. No address, time or raw port."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pyad.row import COUNTERS, Rows

Floats = NDArray[np.float64]

# Zeek's conn_state, grouped by what became of the connection.
_STATE_GROUPS = {
    "state_established": ("S1", "S2", "S3", "SF"),
    "state_no_answer": ("S0", "SH", "RSTOS0"),
    "state_rejected": ("REJ", "RSTRH"),
    "state_reset": ("RSTO", "RSTR"),
    "state_midstream": ("OTH", "SHR"),
}
FAILED_TCP_STATES = frozenset({"S0", "SH", "SHR", "RSTOS0", "REJ", "RSTRH"})
COMPLETED_STATES = frozenset({"S1", "S2", "S3", "SF", "RSTO", "RSTR"})

# Families of application protocols by what they are used for, in Zeek's service names.
SERVICE_FAMILIES = {
    "service_web": ("http", "websocket"),
    "service_tls": ("ssl", "quic"),
    "service_dns": ("dns",),
    "service_admin": ("ssh", "telnet", "rdp", "rfb", "ftp", "ftp-data", "smb", "dce_rpc", "sip"),
    "service_mail": ("smtp", "imap", "pop3"),
    "service_iot": ("mqtt", "coap"),
    "service_ics": ("modbus", "dnp3", "dnp3_tcp", "dnp3_udp", "bacnet", "enip", "s7comm", "opcua_binary"),
    "service_medical": ("dicom", "hl7"),
    "service_infra": ("ntp", "dhcp", "snmp", "syslog", "krb", "krb_tcp", "ldap", "ldap_tcp", "radius"),
}
_HISTORY_FLAGS = {
    "hist_orig_syn": "S",
    "hist_resp_synack": "h",
    "hist_orig_data": "D",
    "hist_resp_data": "d",
    "hist_orig_fin": "F",
    "hist_resp_fin": "f",
    "hist_orig_reset": "R",
    "hist_resp_reset": "r",
    "hist_retransmission": "Tt",
    "hist_gap": "Gg",
    "hist_zero_window": "Ww",
    "hist_inconsistent": "IiQq",
    "hist_flipped": "^",
}
_PROTOS = ("tcp", "udp", "icmp", "arp")
_MAX_CODES = 4096  # distinct texts remembered between batches

NAMES: tuple[str, ...] = (
    "duration",
    "orig_bytes",
    "resp_bytes",
    "orig_pkts",
    "resp_pkts",
    "orig_bytes_per_pkt",
    "resp_bytes_per_pkt",
    "orig_pkts_per_s",
    "byte_balance",
    "missed_bytes",
    *(f"proto_{p}" for p in _PROTOS),
    "icmp_echo",
    "icmp_unreachable",
    "resp_port_system",
    "resp_port_ephemeral",
    "orig_port_system",
    *_STATE_GROUPS,
    *_HISTORY_FLAGS,
    *SERVICE_FAMILIES,
    *(f"counter_{c.name}" for c in COUNTERS),
)


class _Codes(dict[str | None, int]):
    """Text → its feature values, computed once per distinct text; bounded, since the text comes from traffic."""

    def __init__(self, encode: Callable[[str | None], tuple[float, ...]]) -> None:
        self._encode = encode
        self._table: list[tuple[float, ...]] = []

    def __missing__(self, text: str | None) -> int:
        code = len(self._table)
        self._table.append(self._encode(text))
        self[text] = code
        return code

    def matrix(self, column: NDArray[np.object_]) -> Floats:
        """Shape (rows, values)."""
        if len(self) > _MAX_CODES:
            self.clear()
            self._table.clear()
        codes = np.fromiter(map(self.__getitem__, column.tolist()), np.int64, len(column))
        table = np.array(self._table, dtype=np.float64).reshape(len(self._table), len(self._encode(None)))
        return table[codes]


def _one_hot(groups: dict[str, tuple[str, ...]]) -> Callable[[str | None], tuple[float, ...]]:
    def encode(text: str | None) -> tuple[float, ...]:
        if text is None:
            return (np.nan,) * len(groups)
        return tuple(float(text in members) for members in groups.values())

    return encode


def _history(text: str | None) -> tuple[float, ...]:
    if text is None:
        return (np.nan,) * len(_HISTORY_FLAGS)
    return tuple(float(any(c in text for c in letters)) for letters in _HISTORY_FLAGS.values())


def _service(text: str | None) -> tuple[float, ...]:
    if text is None:
        return (np.nan,) * len(SERVICE_FAMILIES)
    names = set(text.lower().split(","))
    return tuple(float(not names.isdisjoint(family)) for family in SERVICE_FAMILIES.values())


_state_codes = _Codes(_one_hot(_STATE_GROUPS))
_proto_codes = _Codes(_one_hot({p: (p,) for p in _PROTOS}))
_history_codes = _Codes(_history)
_service_codes = _Codes(_service)


def row_features(rows: Rows) -> Floats:
    """The features of `NAMES`, float64 of shape (rows, len(NAMES)); NaN is unset, sizes are log1p."""
    n = len(rows)
    number = {name: rows.number(name) for name in ("duration", "orig_bytes", "resp_bytes", "orig_pkts", "resp_pkts")}
    orig_pkts, resp_pkts, duration = number["orig_pkts"], number["resp_pkts"], number["duration"]
    orig, resp = rows.number("orig_ip_bytes"), rows.number("resp_ip_bytes")
    proto = _proto_codes.matrix(rows.text("proto"))
    orig_p, resp_p = rows.number("id.orig_p"), rows.number("id.resp_p")
    icmp = proto[:, _PROTOS.index("icmp")] == 1
    ported = (proto[:, 0] == 1) | (proto[:, 1] == 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = np.log1p(
            np.stack(
                [
                    *number.values(),
                    orig / np.where(orig_pkts > 0, orig_pkts, np.nan),
                    resp / np.where(resp_pkts > 0, resp_pkts, np.nan),
                    np.where(duration > 0, orig_pkts / duration, np.nan),
                ],
                axis=1,
            )
        )
        balance = (orig - resp) / np.where(orig + resp > 0, orig + resp, np.nan)
    kind = np.stack(
        [
            np.where(icmp, (orig_p == 8) | (orig_p == 128), np.nan),
            np.where(icmp, (orig_p == 3) | (orig_p == 1), np.nan),
            np.where(ported, resp_p < 1024, np.nan),
            np.where(ported, resp_p >= 32768, np.nan),
            np.where(ported, orig_p < 1024, np.nan),
        ],
        axis=1,
    )
    missed = rows.number("missed_bytes")
    counters = np.full((n, len(COUNTERS)), np.nan)
    for i, counter in enumerate(COUNTERS):
        if counter.name in rows.columns:
            counters[:, i] = np.log1p(rows.columns[counter.name])
    return np.concatenate(
        [
            sizes,
            balance[:, None],
            np.where(np.isnan(missed), np.nan, missed > 0)[:, None],
            proto,
            kind,
            _state_codes.matrix(rows.text("conn_state")),
            _history_codes.matrix(rows.text("history")),
            _service_codes.matrix(rows.text("service")),
            counters,
        ],
        axis=1,
    )
