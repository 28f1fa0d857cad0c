"""Experiments from labelled connections to result files and the report. Needs the train extra."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="needs the train extra: make test-train installs it")

from onnx_export import baselines, graph, measure, operating, report, report_incidents, run, write_bundle  # noqa: E402
from onnx_export.bundle_run import measure_bundle  # noqa: E402
from onnx_export.data import Split, make_capture  # noqa: E402
from onnx_export.experiment import Experiment, read_study  # noqa: E402
from onnx_export.from_bundle import read_network  # noqa: E402
from onnx_export.incident_counts import Outcome  # noqa: E402
from onnx_export.metrics import Scored, auroc  # noqa: E402
from onnx_export.network import Hybrid, Scaling, Shape, weights  # noqa: E402
from onnx_export.operating import OperatingPoint  # noqa: E402
from onnx_export.page import Plot  # noqa: E402
from onnx_export.settings import Settings, changed  # noqa: E402
from onnx_export.study import run_all  # noqa: E402
from pyad.bundle import FORMAT, MANIFEST  # noqa: E402
from pyad.features import FEATURE_HASH, FEATURES  # noqa: E402
from pyad.verdict import CLASSES  # noqa: E402

SMALL = Settings(
    autoencoder_epochs=2,
    epochs=6,
    batch_rows=512,
    learning_rate=1e-2,
    shape={"embed": 8, "conv": 8, "hidden": 8, "ae_hidden": 8, "latent": 4, "fused": 8},
)


def _capture(name, seed, scan):
    """An hour of six clients of one web server, and one client that goes through all ports of it."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(600):
        client, ts = int(rng.integers(6)), 1e9 + 6.0 * i
        records.append(_conn(i, ts, f"10.0.0.{10 + client}", 443, rng.uniform(0.1, 2), "SF", "ShADadFf", "benign"))
    for i in range(300 if scan else 0):
        records.append(_conn(1000 + i, 1e9 + 600 + i, "10.0.0.66", 1 + i, 0.0, "REJ", "Sr", "recon"))
    return make_capture("lab", name, records, keep_rows=True)


def _conn(i, ts, orig, port, duration, state, history, label):
    answered = state == "SF"
    return {
        "ts": ts, "uid": f"C{i}", "id.orig_h": orig, "id.orig_p": 40000 + i, "id.resp_h": "10.0.0.1",
        "id.resp_p": port, "proto": "tcp", "duration": duration, "orig_bytes": 300 * answered,
        "resp_bytes": int(4000 * duration), "conn_state": state, "history": history, "orig_pkts": 1 + 7 * answered,
        "orig_ip_bytes": 40 + 700 * answered, "resp_pkts": 1 + 7 * answered, "resp_ip_bytes": 40 + 4000 * answered,
        "missed_bytes": 0, "local_orig": True, "local_resp": True, "label": label, "label_detail": f"{label} made up",
    }  # fmt: skip


@pytest.fixture(scope="module")
def split():
    return Split(
        (_capture("a", 1, True), _capture("b", 2, False)),
        (_capture("c", 3, True), _capture("d", 4, False)),
        (_capture("e", 5, True), _capture("f", 6, False)),
    )


def test_a_study_goes_on_where_it_stopped_and_the_report_says_what_is_missing(tmp_path, split):
    config = tmp_path / "study.yaml"
    runs = [
        {"model": ["hybrid", "lightgbm", "logistic"], "data": "lab", "seed": 1},
        {"ablation": "no_lstm", "data": "lab"},
    ]
    config.write_text(yaml.safe_dump({"runs": runs}))
    experiments = [replace(e, settings=SMALL) for e in read_study(config)]
    assert [e.name for e in experiments] == [
        "hybrid-lab-s1", "lightgbm-lab-s1", "logistic-lab-s1", "hybrid-lab-no_lstm-s1",
    ]  # fmt: skip
    loaded = []
    folder = tmp_path / "runs"

    def load(choice):
        loaded.append(choice)
        return split

    run_all(experiments[:3], load, folder)
    run_all(experiments[:3], load, folder)
    assert loaded == ["lab"]
    with pytest.raises(ValueError, match="of other settings than the study's"):
        run_all([replace(experiments[0], settings=replace(SMALL, epochs=1))], load, folder)
    results = run.read_all(folder)
    found = {r["experiment"]["name"]: r for r in results}["hybrid-lab-s1"]
    assert found["operating"]["within_budget"]
    (attack,) = [a for c in found["parts"]["test"]["captures"] for a in c["attacks"]]
    assert attack["rows"] == 300
    assert attack["seconds"] is not None and attack["connections"] < 60
    assert sum(sum(c["false"].values()) for c in found["parts"]["test"]["captures"]) == 0
    report.write(results, [e.name for e in experiments], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Missing: `hybrid-lab-no_lstm-s1`." in text
    assert "| hybrid | recon | 1 | 1 |" in text
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<svg") >= 3
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    json.dumps(results)


def test_a_bundle_is_written_measured_and_trained_on(tmp_path, split):
    experiment = Experiment(settings=SMALL, data="lab")
    write_bundle.make(experiment, split, [], tmp_path / "tiny", "0.0.1", beside="Trees alarm 0.5.\n")
    card = (tmp_path / "tiny" / "MODEL_CARD.md").read_text()
    assert "Licence of the weights: CC BY 4.0." in card
    assert "### Beside others\n\nTrees alarm 0.5.\n\n" in card
    assert "Benign connections alarmed on test sets, where above 5%" in card
    assert (tmp_path / "tiny" / "learning_curve.csv").read_text().startswith("seed,epoch,loss,value")
    result = measure_bundle(tmp_path / "tiny", split)
    assert result["parts"]["test"]["captures"][0]["attacks"][0]["seconds"] is not None
    agreed = result["agreement"]
    assert agreed["rows"] == sum(len(c.x) for c in (*split.validation, *split.test))
    assert 0 <= agreed["probs"] < 1e-5 and 0 <= agreed["novelty"] < 1e-5
    report.write([result], [], tmp_path / "report")
    assert f"| {result['experiment']['name']} | {agreed['rows']} | " in (tmp_path / "report" / "report.md").read_text()
    longer = replace(experiment, settings=replace(SMALL, epochs=2))
    worse = read_network(tmp_path / "tiny")
    worse.classify.weight.data.zero_()
    before = weights(worse)
    site = tmp_path / "site"
    site.mkdir()
    (site / "sets.yaml").write_text(yaml.safe_dump({"sets": {"site": {"use": "train", "terms": "ours, stays here"}}}))
    theirs = replace(split, train=(*split.train, replace(_capture("g", 7, False), dataset="site")))
    write_bundle.make(longer, theirs, [site], tmp_path / "again", "0.0.2", worse, "tiny-0.0.1")
    manifest = yaml.safe_load((tmp_path / "again" / "bundle.yaml").read_text())
    assert manifest["training"]["begun_from"] == "tiny-0.0.1"
    assert manifest["licence"] == "as the terms of site allow"
    after = weights(read_network(tmp_path / "again"))
    assert before.keys() == after.keys()
    assert np.array_equal(before["encode1_w"], after["encode1_w"])
    assert not np.array_equal(before["fuse_w"], after["fuse_w"])
    # Where no epoch is better than what was gone on from, that stays.
    still = replace(longer, settings=replace(longer.settings, learning_rate=0.0))
    good = read_network(tmp_path / "tiny")
    write_bundle.make(still, split, [], tmp_path / "still", "0.0.3", good)
    kept = weights(read_network(tmp_path / "still"))
    assert all(np.array_equal(value, kept[name]) for name, value in weights(good).items())


def test_a_set_s_own_benign_traffic_sets_its_thresholds():
    captures = [_capture("attack", 5, True), *(_capture(f"calm {i}", i, False) for i in range(3))]
    label = np.concatenate([c.label for c in captures])
    probs = np.full((len(label), len(CLASSES)), 0.01, dtype=np.float32)
    recon = CLASSES.index("recon")
    probs[:, recon] = np.where(label == recon, 0.9, 0.6)  # this site's everyday traffic looks a little like scans
    scored = Scored(probs, np.random.default_rng(0).random(len(label), dtype=np.float32))
    quiet = {"level": 0.0, "quantiles": [[1.0, 0.0], [0.01, 5.0]]}
    point = OperatingPoint(0.004, dict.fromkeys(CLASSES[1:], 0.5), quiet, True, {}, 1.0)
    found = measure.recalibrated(captures, scored, point)
    names = [[c["name"] for c in found[when]] for when in ("before", "after")]
    assert names == [["attack", "calm 1"]] * 2  # the calm ones that were read are not counted
    before, after = (sum(measure.dense(c["confusion"]) for c in found[when]) for when in ("before", "after"))
    assert before[0, recon] == 1200 and after[0, recon] == 0
    assert before[recon, recon] == after[recon, recon] == 300
    assert measure.recalibrated(captures[:1], scored, point) == {"before": [], "after": []}


def test_alarms_of_a_long_benign_capture_are_counted_by_hour():
    long = replace(one := _capture("day", 1, False), rows=one.rows.take(np.arange(600)))
    long.rows.columns["ts"] = 1e9 + 72.0 * np.arange(600)  # twelve hours, 50 connections in each
    decision = np.zeros(600 + len(one.x), dtype=np.int8)
    decision[len(one.x) + 100 : len(one.x) + 110] = 2
    hours = measure.hours([one, long], decision)
    assert hours == {"lab/day": [[h, 50, 10 if h == 2 else 0] for h in range(12)]}
    shown = {"hybrid": {"parts": {"test": {"hours": hours}}}}
    assert [b.name for b in report_incidents.over_time(shown) if isinstance(b, Plot)] == ["hours-lab-day"]
    assert report_incidents.over_time({"hybrid": {"parts": {"test": {}}}}) == []


def test_settings_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="no such setting: epoch; there are"):
        changed(Settings(), {"epoch": 3})


def test_a_bundle_of_an_older_trainer_is_not_trained_on(tmp_path):
    torch.manual_seed(1)
    ramps = np.zeros(1, np.float32)
    scaling = Scaling(*np.ones((2, len(FEATURES)), np.float32), np.zeros(1, np.int64), ramps, ramps)
    network = Hybrid(Shape(len(FEATURES), len(CLASSES), **SMALL.shape), scaling)
    folder = tmp_path / "old"
    graphs = write_bundle.write_graphs(folder, network, "old", "1")
    step = folder / "step.onnx"
    step.write_bytes(step.read_bytes().replace(b"residual_weight", b"residual_wEIGHT"))
    graphs["step"]["sha256"] = hashlib.sha256(step.read_bytes()).hexdigest()
    quantiles = {"quantiles": [[1.0, 0.0], [0.01, 5.0]]}
    fields = {
        "format": FORMAT, "name": "old", "version": "1", "features": list(FEATURES), "feature_hash": FEATURE_HASH,
        "classes": list(CLASSES), "state_size": graph.state_size(weights(network)), "graphs": graphs,
        "thresholds": dict.fromkeys(CLASSES[1:], 0.9), "novelty": quantiles, "usual": [0.0] * len(FEATURES),
    }  # fmt: skip
    (folder / MANIFEST).write_text(yaml.safe_dump(fields))
    with pytest.raises(ValueError, match="older trainer; train anew"):
        read_network(folder)


@pytest.mark.parametrize("cheap", ["flood", "recon"])
def test_the_class_that_loses_the_fewest_alarms_gives_way_to_the_budget(cheap, split, monkeypatch):
    """Two classes give a false incident each at all rates but the last, and the budget is one."""
    captures, rates = split.validation, (0.4, 0.08)
    label = np.concatenate([c.label for c in captures])
    benign, attacks = np.flatnonzero(label == 0), np.flatnonzero(label > 0)
    named = {c: CLASSES.index(c) for c in ("flood", "recon")}
    captures = [replace(c, label=c.label.copy()) for c in captures]
    captures[0].label[captures[0].label > 0] = np.resize(list(named.values()), len(attacks))
    label = np.concatenate([c.label for c in captures])
    probs = np.zeros((len(label), len(CLASSES)), dtype=np.float32)
    for c in named.values():
        probs[benign, c] = np.linspace(0, 0.5, len(benign))
    first = {c: operating.calibration.thresholds(probs, label, rates[0])[c] for c in named}
    # The alarms of one class are far above every threshold, the other's just reach the first.
    for c, i in named.items():
        probs[label == i, i] = 0.9 if c == cheap else first[c]
    probs[:, 0] = 1 - probs.sum(axis=1)
    last = {c: operating.calibration.thresholds(probs, label, rates[-1])[c] for c in named}
    assert all(last[c] > first[c] for c in named)

    def outcomes(captures, probs, novelty, policy, min_conns, benign_only=False):
        false = {c: 1 for c, i in named.items() if policy.thresholds[i - 1] < last[c]}
        return [Outcome(100.0, operating.Counter(false))]

    monkeypatch.setattr(operating, "outcomes", outcomes)
    point = operating.choose(captures, probs, np.zeros(len(label), dtype=np.float32), {}, rates=rates)
    assert point.within
    other = next(c for c in named if c != cheap)
    assert point.thresholds[cheap] == pytest.approx(last[cheap])
    assert point.thresholds[other] == pytest.approx(first[other])


def test_lightgbm_takes_the_options_of_an_experiment(split):
    spread = [
        np.ptp(baselines.fit("lightgbm", split.train, split.validation, settings).probs(split.test[0].x)[:, 0])
        for settings in (replace(SMALL, lightgbm={"learning_rate": rate}) for rate in (0.1, 1e-6))
    ]
    assert spread[0] > 0.9 and spread[1] < 0.01  # who learns next to nothing says the same of all rows


@pytest.mark.parametrize("kind", ["half_space_trees", "isolation_forest"])
def test_detectors_of_the_unusual_find_what_benign_rows_were_not(split, kind):
    fitted = baselines.fit(kind, split.train, split.validation, SMALL)
    x, label = (np.concatenate([getattr(c, what) for c in split.test]) for what in ("x", "label"))
    odd = 1 - fitted.probs(x)[:, 0]
    assert auroc(odd[label == 0], odd[label > 0]) > 0.9
