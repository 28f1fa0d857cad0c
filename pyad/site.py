"""A site's own calibration: thresholds, novelty and reference from its own logs, in a small file beside no bundle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pyad.bundle import Bundle
from pyad.errors import PyadError, printable
from pyad.features import FEATURE_HASH
from pyad.groups import GROUPS
from pyad.plain_yaml import is_number, read_table
from pyad.reference import Reference
from pyad.verdict import ATTACK_CLASSES, Calibration

FORMAT = 1
_MAX_BYTES = 2**18
_AGAIN = "make it again: pyad calibrate LOGS…"
_HEAD = """\
# A site's calibration of a pyad bundle, made by `pyad calibrate`. It is used with --calibration FILE or the setting
# model.calibration, and only with the bundle it was made for. Thresholds may be edited; `logs` and `budget` only tell.
"""


@dataclass(frozen=True)
class SiteCalibration:
    """What a site's file says. by_group: index in pyad.groups.GROUPS → the calibration; novel_p: the level."""

    path: Path
    thresholds: Mapping[str, float]
    novel_p: float
    by_group: Mapping[int, Calibration]
    reference: Reference | None


def load_site(path: Path, bundle: Bundle) -> SiteCalibration:
    """Read and check a site's calibration.

    Raises PyadError, naming file and field, for one that is damaged or was made for another bundle or feature set.
    """
    y = read_table(path, _MAX_BYTES, "calibration", "see model.calibration, or " + _AGAIN)
    shown = printable(str(path))
    if y.get("format") != FORMAT:
        raise PyadError(f"{shown}: field 'format' is not {FORMAT}: no calibration that this pyad reads; {_AGAIN}")
    _check_bundle(shown, y, bundle)
    thresholds = _table(shown, y, "thresholds")
    for name, value in thresholds.items():
        if name not in ATTACK_CLASSES or not is_number(value) or not 0 < value <= 1.01:
            raise PyadError(f"{shown}: field 'thresholds.{printable(str(name), 40)}' is not a class and a probability")
    novelty = _table(shown, y, "novelty")
    level = novelty.get("level", -1)
    if not is_number(level) or not 0 <= level <= 1:
        raise PyadError(f"{shown}: field 'novelty.level' is not a number from 0 to 1")
    by_group = {}
    for name, fields in _table(shown, novelty, "groups", "novelty.").items():
        if name not in GROUPS or not isinstance(fields, dict):
            raise PyadError(f"{shown}: field 'novelty.groups': there is no group {printable(str(name), 40)}")
        by_group[GROUPS.index(name)] = Calibration.from_bundle(fields, f"{shown}: field 'novelty.groups.{name}'")
    stored = y.get("reference")
    reference = None if stored is None else Reference.from_mapping(stored, bundle.features, shown)
    return SiteCalibration(path, thresholds, float(level), by_group, reference)


def _check_bundle(shown: str, y: Mapping[str, Any], bundle: Bundle) -> None:
    if y.get("feature_hash") != FEATURE_HASH:
        raise PyadError(f"{shown}: made for another feature set than this pyad's ({FEATURE_HASH}); {_AGAIN}")
    made_for = _table(shown, y, "bundle")
    sums = made_for.get("sha256")
    if sums != dict(bundle.sha256):
        name = f"{printable(str(made_for.get('name')), 64)}-{printable(str(made_for.get('version')), 64)}"
        same = " of the same name, trained anew" if name == bundle.label else ""
        raise PyadError(
            f"{shown}: made for bundle {name}, but the bundle in use is {bundle.label}{same}: its scores mean "
            f"something else there; {_AGAIN}, or name the other bundle"
        )


def _table(shown: str, y: Mapping[str, Any], key: str, parent: str = "") -> dict[str, Any]:
    value = y.get(key)
    if not isinstance(value, dict):
        raise PyadError(f"{shown}: field '{parent}{key}' is {'missing' if value is None else 'no table'}; {_AGAIN}")
    return value


def save_site(
    path: Path, bundle: Bundle, thresholds: Mapping[str, float], level: float,
    groups: Mapping[str, Mapping[str, Any]], reference: Reference | None,
    about: Sequence[tuple[str, Mapping[str, Any]]],
) -> None:  # fmt: skip
    """Write a calibration, in place only once it is whole. about: sections that only tell where it comes from."""
    fields = {
        "format": FORMAT,
        "bundle": {"name": bundle.name, "version": bundle.version, "sha256": dict(bundle.sha256)},
        "feature_hash": FEATURE_HASH,
        **dict(about),
        "thresholds": dict(thresholds),
        "novelty": {"level": level, "groups": {name: dict(fields) for name, fields in groups.items()}},
        "reference": None if reference is None else reference.as_mapping(),
    }
    text = _HEAD + yaml.safe_dump(fields, sort_keys=False, width=118, default_flow_style=None)
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=path.name + ".", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(unfinished).chmod(0o644)
            Path(unfinished).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(unfinished).unlink()
            raise
    except OSError as error:
        raise PyadError(f"{printable(str(path))}: cannot be written ({error.strerror}); choose another --out") from None
