"""What is known of one connection from dissecting its frames: service names and application counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Fields = Mapping[str, Sequence[str]]
Codes = Sequence[int]


class AppFacts:
    """The services and counters of one connection, filled frame by frame.

    `counters` holds a name only once its analyzer ran in this connection (then 0 or more): absent is unset.
    `memory` is the little that a protocol's handler must know of earlier frames.
    """

    __slots__ = ("counters", "memory", "services")

    def __init__(self) -> None:
        self.services: dict[str, None] = {}
        self.counters: dict[str, int] = {"weirds": 0}
        self.memory: dict[str, int] = {}

    @property
    def service(self) -> str | None:
        """Zeek's comma-joined service names in the order they were seen; None where there is none."""
        return ",".join(self.services) or None

    def confirm(self, service: str) -> None:
        """The connection speaks `service`."""
        self.services[service] = None

    def start(self, *names: str) -> None:
        """The analyzer behind these counters runs: they are numbers from here on."""
        for name in names:
            self.counters.setdefault(name, 0)

    def add(self, name: str, n: int) -> None:
        """Count `n` more."""
        self.counters[name] = self.counters.get(name, 0) + n

    def replies(self, codes: Codes, denied: Codes = (), granted: Codes = ()) -> None:
        """Reply codes of one frame: 400 and up are errors; a reply of many lines counts once."""
        distinct = set(codes)
        self.add("error_replies", sum(c >= 400 for c in distinct))
        if denied:
            self.add("auth_failures", sum(c in denied for c in distinct))
            self.add("auth_successes", sum(c in granted for c in distinct))


def numbers(fields: Fields, key: str) -> list[int]:
    """The values of one field as integers (decimal, 0x…, or a boolean word); what is none is left out."""
    values = []
    for text in fields.get(key, ()):
        try:
            values.append(int(text, 16) if text.startswith("0x") else int(text))
        except (ValueError, AttributeError):
            if text in ("true", "True", "false", "False"):
                values.append(int(text in ("true", "True")))
    return values
