import numpy as np

from pyad.groups import GROUPS, group_of
from pyad.row import from_tuples
from pyad.verdict import CLASSES, Calibration, Policy, decide
from tests.fakes import NOVELTY


def test_groups_by_who_speaks_and_what_for():
    rows = from_tuples(
        ("service", "local_orig", "local_resp"),
        [
            (None, None, None), ("http", 1, 1), ("ssl", 1, 0), ("mqtt", 1, 1), ("ssl,HL7", 1, 0), ("dicom", 0, 1),
            ("http", 0, 1),
        ],
        "x",
    )  # fmt: skip
    names = [GROUPS[i] for i in group_of(rows).tolist()]
    assert names == ["inside", "inside", "outbound", "equipment", "equipment", "outside", "outside"]


def test_a_group_with_its_own_calibration_has_its_own_p():
    strict = Calibration.from_bundle({**NOVELTY, "quantiles": [[0.5, 10.0], [0.1, 20.0]], "tail": None})
    policy = Policy.build({}, NOVELTY, {}, 0.05, {1: strict})
    probs = np.zeros((2, len(CLASSES)), dtype=np.float32)
    probs[:, 0] = 1.0
    v = decide(probs, np.array([4.0, 4.0]), policy, np.array([0, 1], dtype=np.int8))
    assert v.novelty_p[0] < 0.01 and v.novelty_p[1] == 0.5 and v.decision.tolist() == [len(CLASSES), 0]
