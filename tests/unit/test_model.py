"""The model at work: both graphs against the NumPy reference, carried state, empty and hostile input, providers."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from pyad import model as model_module
from pyad.bundle import MANIFEST, load_bundle
from pyad.errors import PyadError
from pyad.features import FEATURE_HASH, FEATURES, Features
from pyad.model import Model, check_distributions
from pyad.verdict import ATTACK_CLASSES, CLASSES

pytest.importorskip("onnx", reason="builds graphs; needs the dev extra: pip install 'zeek-pyad[dev]'")
from onnx_export import graph, reference

F = len(FEATURES)


def random_weights(seed=0, embed=6, conv=5, hidden=7, ae=8, latent=3, fused=9):
    rng = np.random.default_rng(seed)

    def array(*shape):
        return (rng.normal(size=shape) * 0.3).astype(np.float32)

    def dense(name, n, m):
        return {f"{name}_w": array(n, m), f"{name}_b": array(m)}

    inverse = rng.uniform(0.2, 2.0, F).astype(np.float32)
    inverse[3] = 0.0  # a feature that training never saw
    return {
        "mean": array(F),
        "inverse_scale": inverse,
        "residual_scale": rng.uniform(0.5, 2.0, F).astype(np.float32),
        "ramp_feature": rng.integers(0, F, 2 * F),
        "low": array(2 * F),
        "inverse_width": rng.uniform(0.1, 3.0, 2 * F).astype(np.float32),  # ramps rise
        **dense("embed", 3 * F, embed),
        "conv_w": array(3, embed, conv),
        "conv_b": array(conv),
        "lstm_wx": array(conv, 4 * hidden),
        "lstm_wh": array(hidden, 4 * hidden),
        "lstm_b": array(4 * hidden),
        **dense("encode1", F, ae),
        **dense("encode2", ae, latent),
        **dense("decode1", latent, ae),
        **dense("decode2", ae, F),
        **dense("fuse", hidden + conv + embed + latent + F, fused),
        **dense("classify", fused, len(CLASSES)),
    }


def write_bundle(folder: Path, weights, **changes):
    """A small valid bundle in `folder`; `changes` override fields of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {}
    for name, build in (("step", graph.build_step), ("sequence", graph.build_sequence)):
        graph.save(build(weights, {}), folder / f"{name}.onnx")
        graphs[name] = {"sha256": hashlib.sha256((folder / f"{name}.onnx").read_bytes()).hexdigest()}
    fields = {
        "format": 1,
        "name": "tiny",
        "version": "1",
        "features": list(FEATURES),
        "feature_hash": FEATURE_HASH,
        "classes": list(CLASSES),
        "state_size": graph.state_size(weights),
        "graphs": graphs,
        "thresholds": dict.fromkeys(ATTACK_CLASSES, 0.9),
        "novelty": {"quantiles": [[1.0, 0.0], [0.01, 5.0]]},
        "usual": [0.0] * F,
        **changes,
    }
    (folder / MANIFEST).write_text(yaml.safe_dump(fields))
    return folder


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny", weights)


@pytest.fixture
def model(folder):
    return Model(load_bundle(folder), provider="cpu", max_streams=64)


def batch(n, streams, seed=0, fresh=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, (n, F)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    stream = rng.integers(0, streams, n)
    return Features(x, stream, np.zeros(n, dtype=bool) if fresh is None else fresh)


def by_reference(weights, features):
    """Row by row in order, the definition of what the model must say."""
    states = {}
    probs, novelty, residuals = [], [], []
    for x, stream, fresh in zip(features.x, features.stream, features.fresh):
        state = None if fresh or stream < 0 else states.get(int(stream))
        state = np.zeros((1, graph.state_size(weights)), np.float32) if state is None else state
        p, s, r, states[int(stream)] = reference.step(weights, x[None], state)
        probs.append(p[0])
        novelty.append(s[0])
        residuals.append(r[0])
    return np.array(probs), np.array(novelty), np.array(residuals)


def assert_equal(scores, expected):
    assert scores.probs == pytest.approx(expected[0], abs=1e-5)
    assert scores.novelty == pytest.approx(expected[1], abs=1e-5)
    assert scores.residuals == pytest.approx(expected[2], abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("streams", [1, 3, 60], ids=["flood from one host", "few hosts", "many hosts"])
def test_both_graphs_say_what_the_reference_says(model, weights, streams):
    features = batch(200, streams)
    assert_equal(model.score(features), by_reference(weights, features))


def test_one_call_and_many_calls_agree_to_1e_6(model):
    features = batch(300, 9)
    whole = model.score(features)
    for size in (1, 2, 50):
        model.reset()
        parts = [
            model.score(Features(features.x[i : i + size], features.stream[i : i + size], features.fresh[i : i + size]))
            for i in range(0, 300, size)
        ]
        assert np.concatenate([p.probs for p in parts]) == pytest.approx(whole.probs, abs=1e-6)
        assert np.concatenate([p.novelty for p in parts]) == pytest.approx(whole.novelty, abs=1e-6)


def test_a_stream_that_begins_anew_inside_a_batch_starts_from_zero(model, weights):
    fresh = np.zeros(60, dtype=bool)
    fresh[[5, 30, 31]] = True
    features = batch(60, 2, fresh=fresh)
    assert_equal(model.score(features), by_reference(weights, features))


def test_rows_without_a_stream_are_scored_from_zero_and_leave_nothing(model, weights):
    features = batch(20, 1)
    stateless = Features(features.x, np.full(20, -1), features.fresh)
    once = model.score(stateless)
    assert_equal(once, by_reference(weights, stateless))
    assert model.score(stateless).probs == pytest.approx(once.probs, abs=1e-7)


def test_an_empty_batch_gives_empty_scores(model):
    scores = model.score(batch(0, 1))
    assert scores.probs.shape == (0, len(CLASSES))
    assert scores.residuals.shape == (0, F)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_no_input_makes_scores_or_state_unusable(model, value):
    features = batch(40, 2)
    features.x[::3] = value
    assert np.isfinite(model.score(features).probs).all()
    scores = model.score(batch(40, 2, seed=1))
    assert np.isfinite(scores.probs).all()
    assert np.isfinite(scores.novelty).all()


def test_cuda_asked_for_and_absent_is_an_error(folder, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PyadError, match="provider cuda was asked for"):
        Model(load_bundle(folder), provider="cuda")
    assert Model(load_bundle(folder), provider="auto").provider == "CPUExecutionProvider"


def test_cuda_that_silently_falls_back_is_noticed(folder, monkeypatch):
    import onnxruntime

    # What onnxruntime-gpu does on a machine without a GPU: the provider is listed, the session runs on the CPU.
    real = model_module._session
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    asked = []

    def on_the_cpu(graph, providers):
        asked.append(providers)
        return real(graph, ["CPUExecutionProvider"])

    monkeypatch.setattr(model_module, "_session", on_the_cpu)
    with pytest.raises(PyadError, match="did not start"):
        Model(load_bundle(folder), provider="cuda")
    assert asked[0] == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    auto = Model(load_bundle(folder), provider="auto")
    assert len(auto.warnings) == 1
    assert auto.provider == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("names", "message"),
    [(["onnxruntime", "onnxruntime-gpu"], "both installed"), (["numpy"], "not installed")],
)
def test_two_distributions_of_onnxruntime_or_none_are_refused(monkeypatch, names, message):
    class Fake:
        def __init__(self, name):
            self.metadata = {"Name": name}

    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Fake(n) for n in names])
    with pytest.raises(PyadError, match=message) as caught:
        check_distributions()
    assert str(caught.value).count("pip ") >= 1


def test_a_changed_graph_is_refused(tmp_path, weights):
    folder = write_bundle(tmp_path / "b", weights)
    data = bytearray((folder / "step.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "step.onnx").write_bytes(bytes(data))
    with pytest.raises(PyadError, match=r"step\.onnx: sha256 .* is not"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": list(FEATURES[:-1])}, "another feature set"),
        ({"feature_hash": "0" * 16}, "another feature set"),
        ({"classes": list(CLASSES[::-1])}, "classes"),
        ({"format": 99}, "format 99"),
        ({"thresholds": {}}, "threshold of flood"),
        ({"thresholds": dict.fromkeys(ATTACK_CLASSES, float("nan"))}, "threshold of flood"),
        ({"usual": [0.0]}, "'usual' has 1 values"),
        ({"usual": ["x"] * F}, "no number"),
        ({"state_size": None}, "'state_size' is missing"),
        ({"novelty": {"quantiles": []}}, "novelty"),
        ({"graphs": {"step": {}}}, "graphs.step needs a sha256"),
        ({"features": [[i] for i in range(F)]}, "another feature set"),
        ({"classes": [[1, [2]]]}, "classes"),
        ({"usual": [10**400] * F}, "no number"),
        ({"usual": ["1"] * F}, "no number"),
        ({"state_size": ["x" * 999]}, r"'state_size' is wrong \(list\)"),
        ({"name": "tiny\x1b[31m"}, "'name' may have"),
        ({"name": "n" * 65}, "'name' may have"),
        ({"version": "1\n"}, "'version' may have"),
        ({"version": 1.10}, r"'version' is wrong \(1\.1\)"),
        ({"min_conns": {"flood": 0}}, "'min_conns'"),
        ({"min_conns": 3}, "'min_conns'"),
        *(
            ({"novelty": {"quantiles": [[1.0, 0.0]], "level": level}}, "novelty level")
            for level in ("often", None, True, -0.1, 1.1, float("nan"), [0.1])
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_field(tmp_path, weights, changes, message):
    with pytest.raises(PyadError, match=message):
        load_bundle(write_bundle(tmp_path / "b", weights, **changes))


def test_a_folder_without_a_bundle_and_a_manifest_that_is_no_table_are_refused(tmp_path):
    with pytest.raises(PyadError, match="No such file"):
        load_bundle(tmp_path)
    for text in ("[1, 2]", "{unclosed", "&a [*a]"):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(PyadError, match=MANIFEST):
            load_bundle(tmp_path)


def test_what_a_few_bytes_of_yaml_can_blow_up_is_refused(tmp_path):
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
    for text, told in (
        (f"l0: &l0 x\n{levels}features: *l11\n", "aliases"),
        ("a: &a {x: 1}\n<<: *a\n", "aliases"),
        (f"format: 0x{'f' * 9999}\n", "format int;"),
        (f"format: {'9' * 9999}\n", "not YAML"),
        ("[" * 9999, "not YAML"),
        ("#" * 2**18 + "\n", "no bundle manifest"),
    ):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(PyadError, match=told) as caught:
            load_bundle(tmp_path)
        assert len(str(caught.value)) < 500


def test_connections_before_a_notice_may_be_left_to_the_defaults(tmp_path, weights):
    assert load_bundle(write_bundle(tmp_path / "a", weights)).min_conns == {}
    assert load_bundle(write_bundle(tmp_path / "b", weights, min_conns={"c2": 3})).min_conns == {"c2": 3}


def test_a_graph_of_the_wrong_shape_is_refused(tmp_path, weights):
    folder = write_bundle(tmp_path / "b", weights, state_size=5)
    with pytest.raises(PyadError, match="not those of a pyad bundle"):
        Model(load_bundle(folder), provider="cpu")


def test_the_same_weights_give_the_same_bytes(weights):
    assert graph.build_step(weights, {}).SerializeToString(deterministic=True) == graph.build_step(
        weights, {}
    ).SerializeToString(deterministic=True)
