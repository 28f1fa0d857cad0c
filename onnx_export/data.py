"""Labelled connection rows to training material: features from the product's own code, split by set and capture."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pyad.features import FeatureExtractor
from pyad.row import BY_NAME, Rows, from_tuples
from pyad.verdict import CLASSES

HERE = Path(__file__).parent
Records = list[dict[str, Any]]
# Services that one client may use many times a second all day.
_STEADY = frozenset(("dns", "http", "ssl", "ntp", "snmp", "syslog", "modbus", "dicom", "hl7"))
# As in the product's default configuration: tables of other sizes collide differently.
_MAX_HOSTS = 50_000


@dataclass(frozen=True)
class Capture:
    """One capture as the model sees it.

    x: float32 (rows, features). stream: int64 (rows,), originator streams numbered within the capture, -1 none.
    label: int8 (rows,), index into CLASSES or -1 for background (neither trained on nor scored).
    """

    dataset: str
    name: str
    x: NDArray[np.float32]
    stream: NDArray[np.int64]
    label: NDArray[np.int8]
    detail: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Captures by use. Tests are whole sets, and the lab's own test recordings; validation is whole captures."""

    train: tuple[Capture, ...]
    validation: tuple[Capture, ...]
    test: tuple[Capture, ...]


def registry() -> dict[str, Any]:
    """The data set registry, `sets.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load((HERE / "sets.yaml").read_text())
    return loaded


def load(folders: Sequence[Path], only: Sequence[str] | None = None) -> Split:
    """Every labelled connection in `folders`, by the registry's rules. Raises KeyError for an unknown set."""
    sets = registry()["sets"]
    parts: dict[str, list[Capture]] = {"train": [], "validation": [], "test": []}
    for dataset, path in labelled_files(folders):
        if only is not None and dataset not in only:
            continue
        known = sets[dataset]
        groups = recording_groups(path.parent) if known.get("grouped") else {}
        for name, records in read_records(path):
            use = groups.get(name, known["use"])
            if use == "train" and any(fnmatch.fnmatchcase(name, g) for g in known.get("validation", ())):
                use = "validation"
            parts[use].append(make_capture(dataset, name, records))
            if use == "train":
                variants = [*_other_pace(name, records), *_busy_clients(name, records)]
                parts[use].extend(make_capture(dataset, name, rows, pace) for rows, pace in variants)
    return Split(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]))


def labelled_files(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(set, file) of every `*.jsonl.gz`: a folder named after a set holds that set, else a file is named after one."""
    sets = registry()["sets"]
    for folder in folders:
        for path in sorted(folder.glob("*.jsonl.gz")):
            yield (folder.name if folder.name in sets else path.name.removesuffix(".jsonl.gz")), path


def recording_groups(folder: Path) -> dict[str, str]:
    """Capture name → train, validation or test, as the lab recorded it (`recordings.yaml` beside the rows)."""
    recordings = yaml.safe_load((folder / "recordings.yaml").read_text())
    return {f"lab/{title}.pcap": recording["group"] for title, recording in recordings.items()}


def read_records(path: Path) -> Iterator[tuple[str, Records]]:
    """(capture name, its connections) of a file with one JSON object a line: conn.log names + capture, label."""
    by_capture: dict[str, Records] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            by_capture.setdefault(record["capture"], []).append(record)
    yield from by_capture.items()


def _draw(*what: str) -> float:
    """A number in [0, 1) that depends on nothing but `what`."""
    return int.from_bytes(hashlib.sha256("\n".join(what).encode()).digest()[4:8]) / 2**32


def _other_pace(name: str, records: Records) -> Iterator[tuple[Records, float]]:
    """The capture once more at another pace, for training.

    Benign hosts come faster only, since being busy must not mean being an attacker; scans and guessing come slower or
    faster. Floods keep their pace: it is what they are.
    """
    labels = {r["label"] for r in records}
    if "flood" in labels or len(records) < 20:
        return
    draw = _draw(name)
    yield records, float(4.0 * 10.0**draw if labels <= {"benign", "background"} else 4.0 ** (2 * draw - 1))


def _busy_clients(name: str, records: Records) -> Iterator[tuple[Records, float]]:
    """The benign rows of each frequent service, as the work of one client that does nothing else, for training.

    Forwarders, pollers and scripts do one thing all day at some steady rate; few of our recordings have one. Log-ins
    are left out: nobody's daily work is to log in several times a second.
    """
    benign = [r for r in records if r["label"] == "benign" and r.get("service") in _STEADY and not r.get("partial")]
    for service, count in Counter(r["service"] for r in benign).items():
        if count < 50:
            continue
        rows = [r for r in benign if r["service"] == service]
        ends = ("id.orig_h", "id.resp_h", "id.resp_p", "orig_l2_addr", "resp_l2_addr")
        pair = Counter(tuple(r.get(k) for k in ends) for r in rows).most_common(1)[0][0]
        rows = [{**r, **dict(zip(ends, pair, strict=True)), "uid": f"{i}"} for i, r in enumerate(rows)]
        span = max(r["ts"] for r in rows) - min(r["ts"] for r in rows)
        rate = 0.3 * 100.0 ** _draw(name, service)  # connections per second, 0.3 to 30
        yield rows, rate * max(span, 1e-3) / count


def make_capture(dataset: str, name: str, records: Records, pace: float = 1.0) -> Capture:
    """Features of one capture's rows, in the order in which Zeek would have delivered them, `pace` times as fast."""
    fields = [f for f in BY_NAME if any(f in r for r in records)]
    rows = from_tuples(fields, [[r.get(f) for f in fields] for r in records], name)
    if pace != 1.0:
        start = rows.columns["ts"].min()
        rows.columns["ts"] = start + (rows.columns["ts"] - start) / pace
    order = zeek_order(rows)
    rows = rows.take(order)
    extractor = FeatureExtractor(max_hosts=_MAX_HOSTS)
    blocks = [extractor.extract(rows.take(slice(i, i + 2048))) for i in range(0, len(rows), 2048)]
    stream = np.concatenate([b.stream for b in blocks])
    fresh = np.concatenate([b.fresh for b in blocks])
    label = np.array([_class_index(records[i]["label"]) for i in order], dtype=np.int8)
    detail = tuple(str(records[i].get("label_detail", "")) for i in order)
    return Capture(dataset, name, np.concatenate([b.x for b in blocks]), _streams(stream, fresh), label, detail)


def _class_index(label: str) -> int:
    return -1 if label == "background" else CLASSES.index(label)


def _streams(slot: NDArray[np.int64], fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
    # A slot that begins anew is another stream.
    streams = np.full(len(slot), -1, dtype=np.int64)
    current: dict[int, int] = {}
    count = 0
    for i, (s, f) in enumerate(zip(slot.tolist(), fresh.tolist(), strict=True)):
        if s < 0:
            continue
        if f or s not in current:
            current[s] = count
            count += 1
        streams[i] = current[s]
    return streams


def zeek_order(rows: Rows) -> NDArray[np.int64]:
    """The order in which Zeek emits rows: at removal, some time after the last packet, by protocol and state."""
    tcp = rows.text("proto") == "tcp"
    ended = np.isin(rows.text("conn_state").astype(str), ("SF", "REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH", "S0", "SH"))
    delay = np.where(tcp, np.where(ended, 5.0, 300.0), 60.0)
    delay = np.where(rows.number("partial") > 0, 0.0, delay)  # a row of an open connection is sent as it is made
    end = rows.end_time()
    return np.argsort(np.minimum(end + delay, end.max()), kind="stable")


def capped(capture: Capture, cap: int, seed: int) -> Capture:
    """The capture with at most `cap` rows of each class labelled; the others become background, order untouched."""
    label = capture.label.copy()
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(capture.name.encode()).digest()[:4])])
    for c in np.unique(label[label >= 0]):
        at = np.flatnonzero(label == c)
        if len(at) > cap:
            # One contiguous run: random single rows would break the streams that the LSTM is to learn.
            first = int(rng.integers(0, len(at) - cap + 1))
            label[at[:first]] = -1
            label[at[first + cap :]] = -1
    return replace(capture, label=label)


def overlap(split: Split) -> dict[str, int]:
    """Exact duplicate feature rows and captures shared between training and the rest (captures must be 0).

    Sets that the registry splits by recording are in both on purpose, and not counted among the sets.
    """
    grouped = {name for name, known in registry()["sets"].items() if known.get("grouped")}
    seen = {row.tobytes() for c in split.train for row in c.x}
    rest = (*split.validation, *split.test)
    return {
        "captures": len({c.name for c in split.train} & {c.name for c in rest}),
        "sets_train_test": len(({c.dataset for c in split.train} & {c.dataset for c in split.test}) - grouped),
        "identical_rows_validation": sum(row.tobytes() in seen for c in split.validation for row in c.x),
        "identical_rows_test": sum(row.tobytes() in seen for c in split.test for row in c.x),
    }
