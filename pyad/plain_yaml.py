"""YAML files of our own making, read with care: bounded, plain values only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pyad.errors import PyadError, printable


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, with which a few bytes stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)


def read_table(path: Path, max_bytes: int, what: str, hint: str) -> dict[str, Any]:
    """The table of fields in a YAML file.

    Raises PyadError, naming the file, for one that cannot be read, is larger than max_bytes (no `what` is), is no YAML
    or no table; `hint` says what to do.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise PyadError(f"{path}: more than {max_bytes} bytes; this is no {what}")
        loaded = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # noqa: S506  (a SafeLoader)
    except OSError as error:
        raise PyadError(f"{path}: {error.strerror}; {hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PyadError(f"{path}: not YAML: {printable(str(error).replace(chr(10), ' '), 120)}") from None
    if not isinstance(loaded, dict):
        raise PyadError(f"{path}: not a table of fields; {hint}")
    return loaded


def is_number(value: Any) -> bool:
    """Whether it is a number; YAML's true and false, which Python counts as numbers, are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
