"""The memo remembers, and forgets in time."""

import pytest

from pyad import memo
from pyad.memo import Memo


def test_computes_once_and_passes_errors_on():
    calls = []
    numbers = Memo(lambda text: calls.append(text) or int(text), {"-": None})
    assert list(map(numbers.__getitem__, ["1", "1", "-", "2"])) == [1, 1, None, 2]
    assert calls == ["1", "2"]
    with pytest.raises(ValueError, match="x"):
        numbers["x"]


def test_stays_bounded_and_keeps_the_preset(monkeypatch):
    monkeypatch.setattr(memo, "MEMO_LIMIT", 10)
    squares = Memo(lambda n: n * n, {-1: 0})
    assert [squares[n] for n in range(1000)] == [n * n for n in range(1000)]
    assert len(squares) <= 10
    assert squares[-1] == 0
    texts = Memo(str.lower, {})
    assert texts["X" * 1000] == "x" * 1000
    assert not texts
