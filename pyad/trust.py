"""Who is believed on the wire, and what is told of those who are not: codes, secrets and schemas that differ."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from pyad import wire
from pyad.logline import Log, Tally
from pyad.row import SCHEMA_HASH

_MAX_NODES = 256  # that something is remembered of; the names are anybody's


class Trust:
    """Judges what says it comes from Zeek.

    mode: "auto" (a node that once proved itself must go on doing so), "always" or "never" (nothing need be proved).
    """

    def __init__(self, secret: str, mode: str, log: Log, refused: Tally) -> None:
        self._secret = secret
        self._mode = mode
        self._log = log
        self._refused = refused
        self._proved: OrderedDict[str, None] = OrderedDict()  # nodes that have shown they know the secret
        self._noted: OrderedDict[tuple[str, str], str] = OrderedDict()

    def believes(self, event: wire.Event, node: str) -> bool:
        """Whether `event`, with its code last, comes from Zeek for all we can tell; where not, it is counted."""
        code = event.args[-1]
        if self._mode == "never":
            return True
        if code and wire.is_signed(self._secret, event):
            _remember(self._proved, node, None)
            return True
        if code:
            self._refused.add(f"{event.name} with a wrong code; do Zeek and bridge have the same secret?", node=node)
            return False
        # A flush closes every incident: Zeek sends one at the end of a replay, and always with a code.
        if self._mode == "always" or event.name == "flush" or node in self._proved:
            self._refused.add(f"{event.name} without a code; has the node lost its secret file?", node=node)
            return False
        return True

    def compare_secrets(self, node: str, raises_notices: bool, facts: dict[str, str]) -> None:
        """Tell, once, where a status shows another secret than ours, or none where one is needed."""
        theirs = facts.get("secret", "")
        ours = wire.fingerprint(self._secret)
        if not theirs or theirs == self.note("secret", node, theirs):
            return
        if theirs == "-" and raises_notices:
            todo = "Zeek raises no notices until it can read the secret file: see PYAD_SECRET_FILE, PyAD::secret_file"
            self._log("warn", "zeek_has_no_secret", node=node, todo=todo)
        elif theirs not in ("-", ours):
            todo = "Zeek and bridge must read the same secret file: see PYAD_SECRET_FILE"
            self._log("error", "secrets_differ", node=node, zeek=theirs, bridge=ours, todo=todo)

    def tell_schema(self, event: wire.Event) -> None:
        """Count an event of another row schema; tell of it once per node."""
        theirs = str(event.args[0])
        self._refused.counts["another row schema"] += 1
        node = str(event.args[1]) if len(event.args) > 1 else "?"
        if self.note("schema", node, theirs) != theirs:
            todo = (
                "Zeek's pyad package and this bridge are of different versions; update the older one "
                "(zkg upgrade, pip install -U zeek-pyad); nothing is scored until then"
            )
            self._log("error", "schema_mismatch", node=node, zeek=theirs, bridge=SCHEMA_HASH, todo=todo)

    def note(self, what: str, node: str, value: str) -> str | None:
        """What was noted before of `what` at the node; notes `value`."""
        before = self._noted.get((what, node))
        _remember(self._noted, (what, node), value)
        return before

    def memory(self) -> list[str]:
        """Nodes that have proved themselves, for `restore`."""
        return list(self._proved)

    def restore(self, nodes: Iterable[str]) -> None:
        """Nodes that proved themselves to an earlier bridge."""
        self._proved = OrderedDict.fromkeys(nodes)


def _remember(held: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    held[key] = value
    held.move_to_end(key)
    if len(held) > _MAX_NODES:
        held.popitem(last=False)
