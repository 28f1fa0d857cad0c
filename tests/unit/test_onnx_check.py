"""What the bundle loader refuses in a graph, on small hostile graphs made here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyad.errors import PyadError
from pyad.onnx_check import MAX_BYTES, check_onnx
from tests.effort import examples

onnx = pytest.importorskip("onnx", reason="needs the dev extra: pip install 'zeek-pyad[dev]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def _model(nodes, initializers=(), opsets=None, functions=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "g", [x], [y], list(initializers))
    return helper.make_model(
        graph, opset_imports=opsets or [helper.make_opsetid("", 18)], functions=list(functions)
    ).SerializeToString()


def _good():
    return _model([helper.make_node("Relu", ["x"], ["y"])], [numpy_helper.from_array(np.ones(3, np.float32), "w")])


def _loop():
    body = helper.make_graph([], "body", [], [])
    return _model([helper.make_node("Loop", ["x"], ["y"], body=body)])


def _external():
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return _model([helper.make_node("Relu", ["x"], ["y"])], [tensor])


def _constant_external():
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    return _model([helper.make_node("Relu", ["x"], ["y"], value=tensor)])


def _foreign():
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.evil", 1)]
    return _model([helper.make_node("Relu", ["x"], ["y"], domain="com.evil")], opsets=opsets)


def _function():
    opsets = [helper.make_opsetid("", 18)]
    function = helper.make_function("", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)
    return _model([helper.make_node("Relu", ["x"], ["y"])], functions=[function])


def test_a_plain_graph_passes():
    check_onnx(_good(), "good.onnx")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_loop(), "graph within a graph|operator Loop"),
        (_model([helper.make_node("Loop", ["x"], ["y"])]), "operator Loop"),
        (_model([helper.make_node("RandomNormal", ["x"], ["y"])]), "operator RandomNormal"),
        (_external(), "another file"),
        (_constant_external(), "another file"),
        (_foreign(), "domain com.evil"),
        (_function(), "functions of its own"),
        (b"", "not an ONNX model"),
        (b"GIF89a not a model at all", "not an ONNX model"),
        (_good()[:-7], "not an ONNX model"),
        (b"\x00" * (MAX_BYTES + 1), "bytes, more than"),
    ],
)
def test_what_is_refused(data, reason):
    with pytest.raises(PyadError, match=reason):
        check_onnx(data, "bad.onnx")


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_any_bytes_are_accepted_or_refused_never_a_crash(noise, at):
    good = _good()
    at %= len(good)
    for data in (noise, good[:at] + noise + good[at:], good[:at]):
        try:
            check_onnx(data, "fuzz.onnx")
        except PyadError as error:
            assert "fuzz.onnx" in str(error)
