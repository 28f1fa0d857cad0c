from pyad.config import load_config
from pyad.detector import load_detector
from pyad.incidents import MIN_CONNS


def test_the_site_goes_before_the_bundle_and_the_bundle_before_the_defaults():
    loaded = load_detector(load_config(None, {}, ["incidents.min_conns={c2: 77}", "verdict.thresholds={flood: 0.25}"]))
    rules, policy = loaded.detector.rules, loaded.detector.policy
    assert rules.min_conns["c2"] == 77
    assert set(MIN_CONNS) <= set(rules.min_conns)
    assert rules.model == loaded.label == f"{loaded.name}-{loaded.version}"
    assert policy.thresholds[0] == 0.25
    assert load_detector(load_config(None, {}, ["verdict.novel_p=0.125"])).detector.policy.novel_p == 0.125
    assert set(loaded.sha256) == {"step", "sequence"}
    assert loaded.provider.endswith("ExecutionProvider")
