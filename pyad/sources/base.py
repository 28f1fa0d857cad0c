"""What every source reports about its reading: how much, what was left out and why, what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pyad.errors import InputError

# The first few cases of one kind are told with their place; the rest only counted.
MAX_WARNINGS_PER_KIND = 3
# Reasons are fixed texts, but a report must stay small whatever an input holds.
MAX_REASONS = 100
OTHER_REASONS = "other reasons"


@dataclass
class ReadReport:
    """Filled by a source while it reads. Rows read before a problem are always delivered.

    files: inputs opened; bytes: consumed as stored (compressed); packets, rows: delivered.
    timelines: how many separate timelines the input held (a step back in time starts another).
    skipped: reason → how many (bad lines, packets that cannot be decoded).
    warnings: sentences for the log; problems: inputs that could not be read (further), the command exits 1.
    on_bytes: called with the number of stored bytes consumed since the last call (a progress bar).
    """

    files: int = 0
    bytes: int = 0
    packets: int = 0
    rows: int = 0
    timelines: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[InputError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    on_bytes: Callable[[int], object] | None = None

    def consumed(self, n: int) -> None:
        """Count `n` more stored bytes as read and move the progress bar."""
        self.bytes += n
        if self.on_bytes is not None and n:
            self.on_bytes(n)

    def skip(self, reason: str, warning: str = "", n: int = 1) -> None:
        """Count `n` things left out for `reason`; the first few of a reason add `warning` to the warnings."""
        if reason not in self.skipped and len(self.skipped) >= MAX_REASONS:
            reason = OTHER_REASONS
        self.skipped[reason] += n
        if warning and self.skipped[reason] <= MAX_WARNINGS_PER_KIND:
            self.warnings.append(warning)

    def add(self, other: ReadReport) -> None:
        """Take over what another report left out, warns of and found wrong."""
        for reason, n in other.skipped.items():
            self.skip(reason, n=n)
        self.warnings.extend(other.warnings)
        self.problems.extend(other.problems)
