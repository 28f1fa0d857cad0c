"""Labelled connection rows to training material: features from the product's own code, split by set and capture."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_export.registry import load_registry
from onnx_export.sources import Records, labelled_files, read_labelled, recorded_groups
from pyad.features import FeatureExtractor
from pyad.row import BY_NAME, Rows, from_tuples
from pyad.verdict import CLASSES

LOG = logging.getLogger(__name__)
# Services that one client may use many times a second all day.
_STEADY = frozenset(("dns", "http", "ssl", "ntp", "snmp", "syslog", "modbus", "dicom", "hl7"))
_EXCHANGE_S = 0.5  # a connection that lasts longer waits for something else than packets on their way
# As in the product's default configuration: tables of other sizes collide differently.
_MAX_HOSTS = 50_000


@dataclass(frozen=True)
class Capture:
    """One capture as the model sees it.

    x: float32 (rows, features). stream: int64 (rows,), originator streams numbered within the capture, -1 none.
    label: int8 (rows,), index into CLASSES or -1 for background (neither trained on nor scored). rows: what it was
    made from, in the same order, of captures that are not trained on; incidents are counted on them.
    """

    dataset: str
    name: str
    x: NDArray[np.float32]
    stream: NDArray[np.int64]
    label: NDArray[np.int8]
    detail: tuple[str, ...]
    rows: Rows | None = None


@dataclass(frozen=True)
class Split:
    """Captures by use. Tests are whole sets, and the lab's own test recordings; validation is whole captures."""

    train: tuple[Capture, ...]
    validation: tuple[Capture, ...]
    test: tuple[Capture, ...]


def load(folders: Sequence[Path], choice: str = "clean", only: Sequence[str] | None = None) -> Split:
    """Every labelled connection in `folders`, split by the registry's rules under a choice of training data.

    only: groups to load. Raises ValueError for an unknown set and for labels that are no classes.
    """
    registry = load_registry(folders)
    parts: dict[str, list[Capture]] = {"train": [], "validation": [], "test": []}
    for folder in folders:
        recorded = recorded_groups(folder)
        for dataset, path in labelled_files(folder, registry):
            LOG.info("%s: %s", dataset, path.name)
            for name, records in read_labelled(dataset, path, registry.of(dataset)):
                use = registry.group(dataset, name, recorded, choice)
                if use is None or (only is not None and use not in only):
                    continue
                parts[use].append(make_capture(dataset, name, records, keep_rows=use != "train"))
                if use == "train":
                    variants = [*_other_pace(name, records), *_busy_clients(name, records)]
                    parts[use].extend(make_capture(dataset, name, rows, pace) for rows, pace in variants)
    return Split(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]))


def _draw(*what: str) -> float:
    """A number in [0, 1) that depends on nothing but `what`."""
    return int.from_bytes(hashlib.sha256("\n".join(what).encode()).digest()[4:8]) / 2**32


def _other_pace(name: str, records: Records) -> Iterator[tuple[Records, float]]:
    """The capture once more at another pace and in another network, for training.

    Benign hosts come faster only, since being busy must not mean being an attacker; scans and guessing come slower or
    faster. Floods keep their pace: it is what they are.
    """
    labels = {r["label"] for r in records}
    if "flood" in labels or len(records) < 20:
        return
    draw = _draw(name)
    pace = float(4.0 * 10.0**draw if labels <= {"benign", "background"} else 4.0 ** (2 * draw - 1))
    yield _other_distances(name, records), pace


def _other_distances(name: str, records: Records) -> Records:
    """Each responder up to twenty times nearer or farther: short exchanges last accordingly.

    How long an answer takes is a matter of the network, not of who asks (domain randomisation: Tobin et al., IROS
    2017).
    """
    times = {host: 20.0 ** (2 * _draw(name, "distance", host) - 1) for host in {r["id.resp_h"] for r in records}}
    return [
        {**r, "duration": r["duration"] * times[r["id.resp_h"]]} if 0 < (r.get("duration") or 0) < _EXCHANGE_S else r
        for r in records
    ]


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


def make_capture(dataset: str, name: str, records: Records, pace: float = 1.0, keep_rows: bool = False) -> Capture:
    """Features of one capture's rows, in the order in which Zeek would have delivered them, `pace` times as fast."""
    fields = [f for f in BY_NAME if any(f in r for r in records)]
    rows = from_tuples(fields, [[r.get(f) for f in fields] for r in records], name)
    if pace != 1.0:
        start = rows.columns["ts"].min()
        rows.columns["ts"] = start + (rows.columns["ts"] - start) / pace
    order = zeek_order(rows)
    rows = rows.take(order)
    label = np.array([_class_index(records[i]["label"]) for i in order], dtype=np.int8)
    detail = tuple(str(records[i].get("label_detail", "")) for i in order)
    return Capture(dataset, name, *features_of(rows), label, detail, rows if keep_rows else None)


def features_of(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(x (rows, features), stream (rows,)) of one capture's rows in their order, from empty windows."""
    extractor = FeatureExtractor(max_hosts=_MAX_HOSTS)
    blocks = [extractor.extract(rows.take(slice(i, i + 2048))) for i in range(0, len(rows), 2048)]
    stream = np.concatenate([b.stream for b in blocks])
    fresh = np.concatenate([b.fresh for b in blocks])
    return np.concatenate([b.x for b in blocks]), _streams(stream, fresh)


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


def labels_of(captures: Sequence[Capture]) -> NDArray[np.int64]:
    """Labels of captures laid end to end."""
    return np.concatenate([c.label for c in captures]).astype(np.int64)


def spans(captures: Sequence[Capture]) -> Iterator[tuple[Capture, slice]]:
    """Each capture with the place of its rows when captures are laid end to end."""
    start = 0
    for capture in captures:
        yield capture, slice(start, start := start + len(capture.x))


def stream_rows(stream: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Row indices of each stream; rows whose originator holds no state (-1) are streams of their own."""
    order = np.argsort(stream, kind="stable")
    s = stream[order]
    bounds = np.flatnonzero((s[1:] != s[:-1]) | (s[1:] < 0)) + 1
    return [part for part in np.split(order, bounds) if len(part)]
