import threading
import time

import pytest

from pyad.prefetch import prefetch


def test_prefetch_is_bounded():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    ahead = prefetch(items(), 4)
    assert next(ahead) == 0
    ahead.close()
    assert len(made) <= 7


def test_prefetch_keeps_order():
    assert list(prefetch(iter(range(100)), 2)) == list(range(100))


def test_an_error_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_a_read_that_waits_for_ever_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("pyad.prefetch._JOIN_S", 0.05)
    go_on = threading.Event()

    def items():
        yield 1
        go_on.wait(60)

    ahead = prefetch(items())
    assert next(ahead) == 1
    began = time.monotonic()
    ahead.close()
    assert time.monotonic() - began < 10
    go_on.set()
