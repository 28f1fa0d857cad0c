"""Bundles: what a folder in `models/` must hold, verified before anything of it is used."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyad.errors import PyadError, printable
from pyad.features import FEATURE_HASH, FEATURES
from pyad.onnx_check import MAX_BYTES, check_onnx
from pyad.plain_yaml import is_number, read_table
from pyad.reference import Reference
from pyad.verdict import ATTACK_CLASSES, CLASSES, Calibration, class_order

FORMAT = 1
GRAPHS = ("step", "sequence")
MANIFEST = "bundle.yaml"
_MAX_MANIFEST_BYTES = 2**18
# Name and version reach terminals, logs and notices.
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    thresholds: attack class → probability. novelty: calibration as in bundle.yaml. usual: float64 (features,), each
    feature's benign median as read, NaN where benign training rows never set it. min_conns: class → decided connections
    before an incident's first notice. reference: what features and scores looked like where it was calibrated, None
    where it does not say. detection: class → (threshold, share of the class's validation connections that reach it),
    thresholds rising; empty where it does not say. graphs: name → serialized ONNX.
    """

    path: Path
    name: str
    version: str
    classes: tuple[str, ...]
    features: tuple[str, ...]
    state_size: int
    thresholds: Mapping[str, float]
    min_conns: Mapping[str, int]
    novelty: Mapping[str, Any]
    usual: NDArray[np.float64]
    reference: Reference | None
    detection: Mapping[str, tuple[tuple[float, float], ...]]
    graphs: Mapping[str, bytes]
    sha256: Mapping[str, str]
    yaml: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Name and version, as verdicts and notices name the model."""
        return f"{self.name}-{self.version}"


def load_bundle(path: Path) -> Bundle:
    """Read and verify the bundle in folder `path`.

    Raises PyadError, naming file and field, for anything missing, altered (sha256), made for other features or
    classes, or unsafe to load (see onnx_check).
    """
    manifest = path / MANIFEST
    loaded = read_table(manifest, _MAX_MANIFEST_BYTES, "bundle manifest", "name a bundle folder (see: pyad model show)")
    return _verify(path, manifest, loaded)


def _verify(path: Path, manifest: Path, y: dict[str, Any]) -> Bundle:
    def need(key: str, kind: type | tuple[type, ...]) -> Any:
        value = y.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            state = "missing" if value is None else f"wrong ({_shown(value)})"
            raise PyadError(f"{manifest}: field '{key}' is {state}; get the bundle again from where it came")
        return value

    def label(key: str) -> str:
        text: str = need(key, str)
        if not _LABEL.fullmatch(text):
            raise PyadError(f"{manifest}: field '{key}' may have letters, digits, '.', '_' and '-' only, at most 64")
        return text

    if need("format", int) != FORMAT:
        raise PyadError(f"{manifest}: format {_shown(y['format'])}; this pyad reads format {FORMAT}")
    if need("features", list) != list(FEATURES) or need("feature_hash", str) != FEATURE_HASH:
        raise PyadError(
            f"{manifest}: made for another feature set ({_shown(y.get('feature_hash'))}, this pyad needs "
            f"{FEATURE_HASH}); use a bundle of this pyad's version, or train it again"
        )
    class_order(need("classes", list), str(manifest))
    entries = need("graphs", dict)
    graphs = {name: _read_graph(path, name, entries.get(name)) for name in GRAPHS}
    numbers = need("usual", list)
    usual = _floats(manifest, "usual", numbers)
    if len(usual) != len(FEATURES):
        raise PyadError(f"{manifest}: field 'usual' has {len(usual)} values for {len(FEATURES)} features")
    thresholds = need("thresholds", dict)
    for name in ATTACK_CLASSES:
        value = thresholds.get(name)
        if not is_number(value) or not 0 < value <= 1.01:
            raise PyadError(f"{manifest}: threshold of {name} is not a probability: {_shown(value)}")
    min_conns = y.get("min_conns", {})
    if not isinstance(min_conns, dict) or not all(type(n) is int and n > 0 for n in min_conns.values()):
        raise PyadError(f"{manifest}: field 'min_conns' must give each class a whole number of connections")
    novelty = need("novelty", dict)
    level = novelty.get("level", 0)
    if not is_number(level) or not 0 <= level <= 1:
        raise PyadError(f"{manifest}: novelty level is not a number from 0 to 1: {_shown(level)}")
    Calibration.from_bundle(novelty, str(manifest))
    return Bundle(
        path=path,
        name=label("name"),
        version=label("version"),
        classes=CLASSES,
        features=FEATURES,
        state_size=need("state_size", int),
        thresholds=thresholds,
        min_conns=min_conns,
        novelty=novelty,
        usual=usual,
        reference=None
        if y.get("reference") is None
        else Reference.from_mapping(y["reference"], FEATURES, str(manifest)),
        detection=_detection(manifest, y.get("detection", {})),
        graphs=graphs,
        sha256={name: entries[name]["sha256"] for name in GRAPHS},
        yaml=y,
    )


def _detection(manifest: Path, value: Any) -> dict[str, tuple[tuple[float, float], ...]]:
    try:
        found = {name: tuple(sorted((float(t), float(share)) for t, share in value[name])) for name in value}
    except (TypeError, ValueError, KeyError, OverflowError):
        raise PyadError(f"{manifest}: field 'detection' must give each class pairs of threshold and share") from None
    if not found.keys() <= set(ATTACK_CLASSES):
        raise PyadError(f"{manifest}: field 'detection' names a class that there is not")
    return found


def _shown(value: Any) -> str:
    """A value for a message: short text and numbers as such, anything else, which may be endless, by its type."""
    if isinstance(value, str):
        return printable(value, 40)
    short = isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64)
    return repr(value) if short else type(value).__name__


def _read_graph(path: Path, name: str, entry: Any) -> bytes:
    if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
        raise PyadError(f"{path / MANIFEST}: graphs.{name} needs a sha256; get the bundle again from where it came")
    file = path / f"{name}.onnx"
    try:
        if file.stat().st_size > MAX_BYTES:
            raise PyadError(f"{file}: more than the {MAX_BYTES} bytes that a bundle's graph may have")
        data = file.read_bytes()
    except OSError as error:
        raise PyadError(f"{file}: {error.strerror}; the bundle is incomplete") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry["sha256"]:
        raise PyadError(
            f"{file}: sha256 {digest[:16]}… is not the {printable(entry['sha256'], 16)} that {MANIFEST} names; "
            "the file was changed or cut short: get the bundle again from where it came"
        )
    check_onnx(data, str(file))
    return data


def _floats(manifest: Path, key: str, values: list[Any]) -> NDArray[np.float64]:
    if not all(v is None or (is_number(v) and abs(v) < sys.float_info.max) for v in values):
        raise PyadError(f"{manifest}: field '{key}' holds something that is no number")
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
