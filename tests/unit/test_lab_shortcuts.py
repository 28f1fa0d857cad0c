"""What a shortcut would find in operation, and when it counts as working."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_export.lab import shortcuts
from pyad.verdict import CLASSES

BENIGN, FLOOD, RECON = (CLASSES.index(name) for name in ("benign", "flood", "recon"))


def part(labels: list[int]) -> shortcuts.Part:
    return shortcuts.Part("a", np.array(labels, dtype=np.int8), {}, {})


def benign(*shares: float) -> np.ndarray:
    """P of each class where only P(benign) matters."""
    found = np.zeros((len(shares), len(CLASSES)))
    found[:, BENIGN] = shares
    return found


def test_no_more_benign_rows_than_allowed_are_over_the_threshold() -> None:
    calm = np.linspace(0, 1, 1000)
    assert (calm > shortcuts.threshold(calm, 0.01)).sum() == 10
    assert (calm > shortcuts.threshold(calm, 0.001)).sum() == 1
    assert (np.ones(50) > shortcuts.threshold(np.ones(50), 0.5)).sum() == 0


def test_alarm_recall_is_of_each_class_and_none_where_it_does_not_occur() -> None:
    calm = np.array([0.1] * 99 + [0.6])
    told = shortcuts.alarms([part([FLOOD, FLOOD]), part([RECON])], [benign(0.2, 0.5), benign(0.1)], calm, 0.01)
    assert told[FLOOD] == 1.0
    assert told[RECON] == 1.0
    stricter = shortcuts.alarms([part([FLOOD, FLOOD]), part([RECON])], [benign(0.2, 0.5), benign(0.1)], calm, 0.001)
    assert stricter[FLOOD] == 0.5
    assert np.isnan(stricter[BENIGN])


@pytest.mark.parametrize(
    ("alarm_recall", "recall", "said"),
    [(0.05, 0.2, (False, False)), (0.11, 0.2, (True, False)), (0.05, 0.3, (False, True))],
)
def test_a_shortcut_works_in_operation_or_as_a_classifier(
    alarm_recall: float, recall: float, said: tuple[bool, bool]
) -> None:
    assert shortcuts.works(alarm_recall, recall, chance=0.11, best=0.76) == said


def test_the_report_says_both() -> None:
    shares = np.zeros(len(CLASSES))
    caught = {kind: dict.fromkeys(shortcuts.RATES, shares + (kind == "product")) for kind in shortcuts.INPUTS}
    right, never = np.diag(np.full(len(CLASSES), 10)), np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    never[:, BENIGN] = 10
    matrices = dict.fromkeys(shortcuts.INPUTS, never[None]) | {"product": right[None], "guessing": never[None]}
    said = shortcuts.alarm_markdown(caught, matrices)
    assert "| ports | 0.00 | 0.00 |" in said
    assert said.count("| no | no |") == len(shortcuts.INPUTS) - 1
