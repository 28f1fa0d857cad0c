"""Training end to end on made-up rows, and the exported graphs against PyTorch. Needs the train extra."""

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="needs the train extra: make test-train installs it")

from onnx_export import calibration, graph, label, write_bundle  # noqa: E402
from onnx_export.data import Capture, Split, capped  # noqa: E402
from onnx_export.material import Material  # noqa: E402
from onnx_export.metrics import Scored, operating_recall  # noqa: E402
from onnx_export.network import Hybrid, Shape, weights  # noqa: E402
from onnx_export.scaling import scaling  # noqa: E402
from onnx_export.settings import Settings  # noqa: E402
from onnx_export.train import fit, score  # noqa: E402
from pyad.features import FEATURES  # noqa: E402
from pyad.reference import Reference  # noqa: E402
from pyad.verdict import CLASSES  # noqa: E402

F = len(FEATURES)


def _fresh():
    rng = np.random.default_rng(9)
    return Hybrid(
        Shape(F, len(CLASSES)), scaling(rng.normal(size=(500, F)).astype(np.float32), rng.integers(0, 3, 500), 4, rng)
    )


def _captures(n, seed, shuffled=False):
    """Two hosts; the one that repeats large first features scans (recon), the other is benign."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, F)).astype(np.float32)
    stream = rng.integers(0, 20, n)
    label = np.where(stream < 6, CLASSES.index("recon"), 0).astype(np.int8)
    x[:, :4] += 2.5 * (label[:, None] > 0)
    if shuffled:
        rng.shuffle(label)
    return [Capture("made-up", f"c{seed}", x, stream, label, ("",) * n)]


def _recall(shuffled):
    settings = Settings(
        autoencoder_epochs=1,
        epochs=8,
        average=0.95,
        chunk=16,
        batch_rows=128,
        learning_rate=1e-2,
        shape={"embed": 8, "conv": 8, "hidden": 8, "ae_hidden": 8, "latent": 4, "fused": 8},
    )
    validation = _captures(1500, 2, shuffled)
    model, _ = fit(_captures(3000, 1, shuffled), validation, settings)
    return operating_recall(score(model, validation).probs, validation, 0.02)["recon"]


def test_it_learns_what_is_learnable_and_nothing_from_shuffled_labels():
    assert _recall(shuffled=False) > 0.7
    assert _recall(shuffled=True) < 0.15


def test_the_past_of_a_host_that_attacked_is_nobody_elses():
    one = _captures(3000, 1)[0]
    label = np.zeros(3000, dtype=np.int64)
    material = Material([one], chunk=16)
    everybody = material.pasts(label)
    assert len(everybody) == len(np.unique(one.stream))
    label[np.flatnonzero(one.stream == 4)[0]] = 1  # long over when the stream ends
    assert len(material.pasts(label)) == len(everybody) - 1


def test_rows_without_padding_give_what_they_give_beside_padded_ones():
    torch.manual_seed(4)
    model, x = _fresh().eval(), torch.randn(4, 9, F)
    state = torch.randn(4, model.shape.state)
    with torch.no_grad():
        together = model(*model.scale(x), torch.tensor([9, 9, 9, 5]), state)
        alone = model(*model.scale(x[:3]), torch.tensor([9, 9, 9]), state[:3])
    for ours, theirs in zip(alone, together, strict=True):
        assert ours.numpy() == pytest.approx(theirs[:3].numpy(), abs=1e-6)


def _owed(w, state):
    """The network's state as graphs carry it: what the last two rows add to the convolution, instead of the rows."""
    embed = w["embed_b"].size
    older, old, rest = np.split(state, [embed, 2 * embed], axis=1)
    return np.concatenate([older @ w["conv_w"][0] + old @ w["conv_w"][1], old @ w["conv_w"][0], rest], axis=1)


def test_exported_graphs_equal_pytorch():
    import onnxruntime as ort

    torch.manual_seed(3)
    model = _fresh()
    model.eval()
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, (6, 40, F)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    lengths = np.array([40, 1, 13, 40, 2, 7], dtype=np.int32)
    state = rng.normal(0, 0.2, (6, model.shape.state)).astype(np.float32)
    with torch.no_grad():
        scaled, known = model.scale(torch.as_tensor(x))
        logits, residual, following = model(scaled, known, torch.as_tensor(lengths).long(), torch.as_tensor(state))
    expected = torch.softmax(logits, dim=2).numpy()
    w = weights(model)
    sequence = ort.InferenceSession(graph.build_sequence(w, {}).SerializeToString())
    step = ort.InferenceSession(graph.build_step(w, {}).SerializeToString())
    probs, _, residuals, next_state = sequence.run(None, {"x": x, "length": lengths, "state": _owed(w, state)})
    for i, n in enumerate(lengths):
        assert probs[i, :n] == pytest.approx(expected[i, :n], abs=1e-5)
        assert residuals[i, :n] == pytest.approx(residual.numpy()[i, :n], abs=1e-5, rel=1e-4)
    assert next_state == pytest.approx(_owed(w, following.numpy()), abs=1e-5)
    carried = _owed(w, state)
    for t in range(40):
        active = np.flatnonzero(lengths > t)
        out = step.run(None, {"x": x[active, t], "state": carried[active]})
        assert out[0] == pytest.approx(expected[active, t], abs=1e-5)
        carried = carried.copy()
        carried[active] = out[3]


def test_thresholds_hold_the_false_positive_rate_and_novelty_is_calibrated():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([20] + [0.3] * 8, 20_000).astype(np.float32)
    label = np.zeros(20_000, dtype=np.int8)
    limits = calibration.thresholds(probs, label, 2e-3)
    alarmed = (probs[:, 1:] >= list(limits.values())).any(axis=1)
    assert alarmed.mean() <= 3e-3
    same = np.full((20_000, 9), 0.01, dtype=np.float32)  # as trees say it of rows that end in one leaf
    limits = calibration.thresholds(same, label, 2e-3)
    assert not (same[:, 1:] >= list(limits.values())).any()
    fitted = calibration.novelty(rng.exponential(1.0, 20_000).astype(np.float32), 1e-4)
    assert fitted["tail"]["threshold"] == pytest.approx(-np.log(0.02), rel=0.05)


def test_a_bundle_says_what_thresholds_cost_and_what_was_usual():
    validation = _captures(3000, 1)
    label = validation[0].label
    p = np.where(label > 0, np.linspace(0.2, 1, 3000), 0.05).astype(np.float32)
    probs = np.zeros((3000, len(CLASSES)), dtype=np.float32)
    probs[:, 2], probs[:, 0] = p, 1 - p
    costs = calibration.detection(probs, label)
    assert set(costs) == {"recon"} and costs["recon"][0] == [0.1, 1.0] and costs["recon"][-1][1] < 0.01
    scored = Scored(probs, np.random.default_rng(0).gamma(2, 1, 3000).astype(np.float32))
    usual = write_bundle.reference(Split((), tuple(validation), ()), scored, label)
    known = Reference.from_mapping(usual, FEATURES, "bundle.yaml")
    assert known.rows == (label == 0).sum() and known.mean[-1] == pytest.approx(2, rel=0.1)


def test_capping_keeps_order_and_makes_the_rest_background():
    capture = _captures(500, 1)[0]
    small = capped(capture, 50, seed=1)
    kept = np.flatnonzero(small.label > 0)
    assert len(kept) == 50
    assert np.array_equal(small.x, capture.x)
    assert set(small.label[small.label != capture.label].tolist()) <= {-1}
    assert replace(small, label=capture.label).label is capture.label


def test_label_rules_first_match_wins_and_negation_holds(tmp_path):
    path = tmp_path / "c.labels.yaml"
    path.write_text(
        "entries:\n- captures: [c.pcap]\n  rules:\n"
        "  - {orig: 10.0.0.0/24, not_resp: 10.0.0.9, resp_port: '20-25', label: recon, detail: scan}\n"
        "  - {host: 10.0.0.5, host2: 10.0.0.9, after: 100, before: 200, label: flood}\n"
        "  default: benign\n"
    )
    name = label.load_rules(path)

    def conn(orig, resp, port, ts=150.0):
        return {"id.orig_h": orig, "id.orig_p": 5, "id.resp_h": resp, "id.resp_p": port, "proto": "tcp", "ts": ts}

    assert name(conn("10.0.0.5", "10.1.0.1", 22)) == ("recon", "scan")
    assert name(conn("10.0.0.5", "10.0.0.9", 22))[0] == "flood"
    assert name(conn("10.0.0.9", "10.0.0.5", 80))[0] == "flood"
    assert name(conn("10.0.0.9", "10.0.0.5", 80, ts=201.0))[0] == "benign"
