import re
import sys

from pyad.logline import Tally, line, stderr_log


def test_a_line():
    text = line(1795521600.0, "info", "connected", {"url": "ws://x:1/y", "zeek": "9.1.0-dev", "n": 3})
    assert text == "2026-11-24T12:00:00Z info connected url=ws://x:1/y zeek=9.1.0-dev n=3"


def test_values_with_blanks_are_quoted_and_from_outside_safe():
    text = line(0.0, "warn", "e", {"a": "x y", "b": 'q"\\', "c": "\n\x1b[2J", "d": "", "e": "a=b", "f": "x" * 900})
    assert "\n" not in text and "\x1b" not in text
    assert 'a="x y" b="q\\"\\\\" c="\\\\n\\\\x1b[2J" d="" e="a=b"' in text
    assert len(text) < 700


def test_floats_are_short():
    assert line(0.0, "info", "e", {"a": 0.123456, "b": 123456.7, "c": 1.0}).endswith("a=0.1235 b=123457 c=1")


def test_standard_error_that_nobody_reads_is_no_fault(monkeypatch):
    class Gone:
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    stderr_log(lambda: 0.0)("info", "e")


def test_standard_error(capsys):
    stderr_log(lambda: 0.0)("error", "failed", why="it broke")
    assert re.fullmatch(r'1970-01-01T00:00:00Z error failed why="it broke"\n', capsys.readouterr().err)


def test_the_first_few_of_a_reason_are_told_and_then_each_tenfold():
    told = []
    tally = Tally(lambda level, event, /, **fields: told.append(fields))
    for _ in range(1000):
        tally.add("bad", node="z")
    tally.add("other", 50)
    assert [f["count"] for f in told] == [1, 2, 3, 10, 100, 1000, 50]
    assert tally.counts == {"bad": 1000, "other": 50}
