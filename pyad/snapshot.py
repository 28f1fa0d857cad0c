"""What a bridge knows of hosts and incidents, in a file: written now and then and at the end, read at the start.

One NumPy archive without pickles: `header`, JSON that says whose state this is and holds everything that is no array,
and the arrays, without the rows at their end that were never used. Plain values stand for themselves; of objects, only
those classes come back that are named here.
"""

from __future__ import annotations

import array
import dataclasses
import json
import os
import tempfile
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyad.detector import LoadedDetector
from pyad.errors import PyadError, printable
from pyad.explain import Reason
from pyad.features import FEATURE_HASH
from pyad.incidents import STATE_CLASSES
from pyad.pipeline import Counts, Pipeline
from pyad.row import SCHEMA_HASH

FORMAT = 1
_HEADER = "header"
_MAX_BYTES = 4 << 30
# Values made anew from their fields; everything else is filled into what a fresh detector holds.
_CLASSES: dict[str, type[Any]] = {c.__name__: c for c in (*STATE_CLASSES, Reason, Counts)}
_NUMBERS = (bool, int, float)
_MAPPINGS: dict[str, Callable[[], Any]] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}


class _UnfitError(Exception):
    """The file is not a snapshot of this state; the message says what is wrong with it."""


def save_snapshot(path: Path, pipeline: Pipeline, loaded: LoadedDetector, extra: Mapping[str, Any]) -> None:
    """Write the state and `extra` (JSON) to `path`, which is replaced only once all is written; mode 0600."""
    arrays: dict[str, Any] = {}
    header = _identity(loaded) | {
        "written": time.time(),
        "extra": dict(extra),
        "state": {name: _freeze(part, arrays) for name, part in pipeline.memory().items()},
    }
    arrays[_HEADER] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    descriptor, unfinished = tempfile.mkstemp(prefix=path.name + ".", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(unfinished).unlink()
        raise


def load_snapshot(path: Path, pipeline: Pipeline, loaded: LoadedDetector) -> dict[str, Any]:
    """Put the state into a fresh `pipeline`; returns the `extra` it was saved with.

    Raises PyadError for a file that is damaged or of another model, row schema or size; then nothing was changed.
    """
    shown = printable(str(path))
    try:
        arrays, header = _read(path)
        for name, ours in _identity(loaded).items():
            if header.get(name) != ours:
                raise _UnfitError(f"it is of another {name.replace('_', ' ')}; hosts are learned anew")
        changes: list[Callable[[], None]] = []
        for name, part in pipeline.memory().items():
            _thaw(header["state"][name], part, arrays, changes)
        extra = header["extra"]
        if not isinstance(extra, dict):
            raise _UnfitError("it is damaged")
    except _UnfitError as unfit:
        raise PyadError(f"{shown}: this state cannot be taken over: {unfit}") from None
    except OSError as error:
        raise PyadError(f"{shown}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile, RecursionError,
            OverflowError, MemoryError, NotImplementedError):  # fmt: skip
        raise PyadError(f"{shown}: this state cannot be taken over: it is damaged") from None
    for change in changes:
        change()
    return extra


def _identity(loaded: LoadedDetector) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "row_schema": SCHEMA_HASH,
        "feature_set": FEATURE_HASH,
        "model": {"label": loaded.label, **loaded.sha256},
        "hosts.max_hosts": loaded.max_hosts,
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise _UnfitError("it is too large")
        with zipfile.ZipFile(file) as archive:
            if sum(item.file_size for item in archive.infolist()) > _MAX_BYTES:
                raise _UnfitError("it is too large")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    header = json.loads(arrays.pop(_HEADER).tobytes())
    if not isinstance(header, dict):
        raise _UnfitError("it is damaged")
    return arrays, header


# To plain values


def _freeze(value: Any, arrays: dict[str, Any]) -> Any:
    """A value as JSON; what is an array goes to `arrays`."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, np.ndarray):
        return _stored(_used(value), arrays)
    if isinstance(value, array.array):
        return _stored(np.array(value), arrays)
    if isinstance(value, bytearray):
        return _stored(np.frombuffer(bytes(value), dtype=np.uint8), arrays)
    kind = type(value).__name__
    if isinstance(value, dict):
        return {kind: [[_freeze(k, arrays), _freeze(v, arrays)] for k, v in value.items()]}
    if kind in _CLASSES:
        return {kind: [_freeze(getattr(value, name), arrays) for name in _fields(type(value))]}
    if isinstance(value, list | tuple | set):
        return {kind: [_freeze(v, arrays) for v in value]}
    return {"object": {name: _freeze(getattr(value, name), arrays) for name in _remembered(value)}}


def _remembered(thing: Any) -> tuple[str, ...]:
    """The attributes that make up an object's memory: those it names, else all."""
    named: tuple[str, ...] = getattr(thing, "remembers", None) or tuple(vars(thing))
    return named


def _stored(values: Any, arrays: dict[str, Any]) -> dict[str, str]:
    name = f"a{len(arrays)}"
    arrays[name] = values
    return {"array": name}


def _used(values: Any) -> Any:
    """Without the rows at the end that hold nothing."""
    if values.ndim == 0 or not len(values):
        return values
    held = np.flatnonzero(values.reshape(len(values), -1).any(axis=1))
    return values[: held[-1] + 1 if len(held) else 0]


def _fields(cls: type[Any]) -> tuple[str, ...]:
    if dataclasses.is_dataclass(cls):
        return tuple(f.name for f in dataclasses.fields(cls))
    names: tuple[str, ...] = cls._fields
    return names


# And back


def _thaw(node: Any, fresh: Any, arrays: Mapping[str, Any], changes: list[Callable[[], None]]) -> None:
    """Plan how an object of ours becomes what `node` says; nothing is changed before all of it fits."""
    state = node["object"]
    if set(state) != set(_remembered(fresh)):
        raise _UnfitError("it is of another version of pyad")
    for name, stored in state.items():
        current = getattr(fresh, name)
        if isinstance(stored, dict) and "object" in stored:
            _thaw(stored, current, arrays, changes)
        elif isinstance(current, np.ndarray | array.array | bytearray):
            changes.append(_filling(current, arrays[stored["array"]]))
        else:
            value = _value(stored)
            if not _alike(value, current):
                raise _UnfitError("it is damaged")
            changes.append(partial(setattr, fresh, name, value))


def _filling(current: Any, values: Any) -> Callable[[], None]:
    """How an array's first rows become `values` and the others nothing."""
    target = np.frombuffer(current, dtype=np.uint8) if isinstance(current, bytearray) else np.asarray(current)
    if values.dtype != target.dtype or values.shape[1:] != target.shape[1:] or values.ndim != target.ndim:
        raise _UnfitError("it is damaged")
    if values.dtype.kind == "f" and not np.isfinite(values).all():  # a NaN in a host's state would stay there
        raise _UnfitError("it is damaged")
    if len(values) > len(target):
        raise _UnfitError("it remembers more hosts than hosts.max_hosts allows")

    def fill() -> None:
        if isinstance(current, np.ndarray):
            current[: len(values)] = values
            current[len(values) :] = 0
        elif isinstance(current, bytearray):
            current[: len(values)] = values.tobytes()
        else:
            current[: len(values)] = array.array(current.typecode, values.tobytes())

    return fill


def _value(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, stored),) = node.items()
    if kind == "float":
        return float.fromhex(stored)
    if kind in _MAPPINGS:
        made = _MAPPINGS[kind]()
        for key, value in stored:
            made[_value(key)] = _value(value)
        return made
    items = [_value(item) for item in stored]
    if kind in ("list", "tuple", "set"):
        return {"list": list, "tuple": tuple, "set": set}[kind](items)
    cls = _CLASSES[kind]
    if len(items) != len(_fields(cls)):
        raise _UnfitError("it is of another version of pyad")
    return cls(*items)


def _alike(value: Any, current: Any) -> bool:
    """Whether a value can stand in the place of another: of one type, numbers and None being one."""
    plain = (*_NUMBERS, type(None))
    return type(value) is type(current) or (isinstance(value, plain) and isinstance(current, plain))
