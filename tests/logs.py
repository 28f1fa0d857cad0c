"""Small conn.logs to read in tests, and how to read them."""

import json

from pyad.row import Rows, concat
from pyad.sources.base import ReadReport
from pyad.sources.conn_log import read_conn_log

_NAMES = (
    "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state "
    "local_orig local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents "
    "ip_proto"
)
_TYPES = (
    "time string addr port addr port enum string interval count count string bool bool count string count count "
    "count count set[string] count"
)
NAMES, TYPES = _NAMES.split(), _TYPES.split()
LINE = (
    "1700000000.123456\tCabc\t10.0.0.1\t40000\t10.0.0.2\t80\ttcp\thttp\t0.500000\t100\t2000\tSF\tT\tF\t0\tShADadFf\t"
    "5\t300\t6\t2300\t-\t6"
)
UNSET_LINE = (
    "1700000001.5\tCdef\tfe80::1\t8\t2001:0DB8::1\t0\ticmp\t-\t-\t-\t-\tOTH\t-\t-\t0\t-\t1\t84\t0\t0\t(empty)\t1"
)


def header(names=NAMES, types=TYPES, path="conn"):
    return (
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
        f"#path\t{path}\n#open\t2026-01-01-00-00-00\n"
        "#fields\t" + "\t".join(names) + "\n#types\t" + "\t".join(types) + "\n"
    )


def read(path, **options):
    report = ReadReport()
    parts = list(read_conn_log(path, report, **options))
    rows = concat(parts) if parts else Rows({})
    assert report.rows == len(rows)
    return rows, report


def read_text(tmp_path, text, name="conn.log"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path)


TSV = header() + LINE + "\n" + UNSET_LINE + "\n#close\t2026-01-01-01-00-00\n"


def as_json(nested=False, iso=False):
    lines = []
    for line in (LINE, UNSET_LINE):
        record = {}
        for name, kind, value in zip(NAMES, TYPES, line.split("\t"), strict=True):
            if value in ("-", "(empty)"):
                continue
            if kind in ("count", "port"):
                record[name] = int(value)
            elif kind in ("time", "interval"):
                record[name] = float(value)
            elif kind == "bool":
                record[name] = value == "T"
            else:
                record[name] = value
        if iso:
            record["ts"] = {1700000000.123456: "2023-11-14T22:13:20.123456Z", 1700000001.5: "2023-11-14T22:13:21.500"}[
                record["ts"]
            ]
        if nested:
            record["id"] = {key[3:]: record.pop(key) for key in list(record) if key.startswith("id.")}
        lines.append(json.dumps(record))
    return "\n".join(lines) + "\n"
