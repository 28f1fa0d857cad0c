"""The errors a person sees: what was read, where, what was wrong, what to do."""

from __future__ import annotations


class PyadError(Exception):
    """Something about the input or the site is wrong; the command ends with `exit_code`."""

    exit_code = 1


class UsageError(PyadError):
    """The command line or the configuration asks for something that does not exist."""

    exit_code = 2


class InputError(PyadError):
    """One input could not be read (further): names the source, the place in it, and the way out.

    `where` is a line ("line 17"), an offset ("byte 4096") or empty. Rows read before are kept.
    """

    def __init__(self, source: str, where: str, what: str, hint: str = "") -> None:
        place = f"{printable(source)}: {where}: " if where else f"{printable(source)}: "
        super().__init__(f"{place}{what}{'; ' if hint else ''}{hint}")


def printable(text: str, limit: int = 200) -> str:
    r"""Text from outside, safe on one log line: non-printing characters as `\xNN` or `\uNNNN`, cut at `limit`."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
