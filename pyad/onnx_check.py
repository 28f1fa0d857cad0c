"""Is an ONNX file safe to load? A small reader of the protobuf wire format; needs neither onnx nor trust.

Refused: anything over the size cap, external data, operator domains other than ONNX's own, control flow and
everything else off the list of operators below, functions of its own. onnxruntime would otherwise run a Loop for ever
and open files that a graph names.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyad.errors import PyadError, printable

MAX_BYTES = 16 * 2**20
# Element-wise and matrix arithmetic, and the few operators that move data around. No control flow, no strings, no I/O.
ALLOWED_OPS = frozenset((
    "Abs", "Add", "Cast", "Clip", "Concat", "Conv", "Div", "Exp", "Gather", "GatherND", "Gemm", "Greater", "Identity",
    "IsInf", "IsNaN", "LSTM", "Less", "Log", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "Pow", "ReduceMax",
    "ReduceMean", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze",
    "Sub", "Tanh", "ThresholdedRelu", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Field numbers of onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto).
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTIONS = 7, 8, 25
_OPSET_DOMAIN = 1
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14


class _MalformedError(Exception):
    """The bytes are not a protobuf message."""


def check_onnx(data: bytes, name: str) -> None:
    """Raise PyadError, naming `name` and the reason, unless the serialized model `data` may be loaded."""
    if len(data) > MAX_BYTES:
        raise PyadError(f"{name}: {len(data)} bytes, more than the {MAX_BYTES} that a bundle's graph may have")
    try:
        graphs = 0
        for number, value in _fields(data):
            if number == _MODEL_GRAPH:
                graphs += 1
                _check_graph(_message(value), name)
            elif number == _MODEL_OPSET:
                _check_domain([_text(v) for n, v in _fields(_message(value)) if n == _OPSET_DOMAIN], name)
            elif number == _MODEL_FUNCTIONS:
                raise PyadError(f"{name}: defines functions of its own, which a bundle may not")
        if graphs != 1:
            raise _MalformedError
    except _MalformedError:
        raise PyadError(f"{name}: not an ONNX model; get the bundle again from where it came") from None


def _check_graph(graph: memoryview, name: str) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            _check_node(_message(value), name)
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value), name)
        elif number == _GRAPH_SPARSE:
            raise PyadError(f"{name}: holds sparse tensors, which a bundle may not")


def _check_node(node: memoryview, name: str) -> None:
    op = ""
    domains: list[str] = []
    for number, value in _fields(node):
        if number == _NODE_OP_TYPE:
            op = _text(value)
        elif number == _NODE_DOMAIN:
            domains.append(_text(value))
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value), name)
    _check_domain(domains, name)
    if op not in ALLOWED_OPS:
        raise PyadError(f"{name}: uses the operator {printable(op, 60)}, which a bundle may not")


def _check_attribute(attribute: memoryview, name: str) -> None:
    for number, value in _fields(attribute):
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            raise PyadError(f"{name}: holds a graph within a graph (Loop, If or Scan), which a bundle may not")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_message(value), name)


def _check_tensor(tensor: memoryview, name: str) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
            raise PyadError(f"{name}: keeps data in another file, which a bundle may not")


def _check_domain(domains: list[str], name: str) -> None:
    for domain in domains:
        if domain not in ("", "ai.onnx"):
            raise PyadError(f"{name}: uses operators of the domain {printable(domain, 60)}, which a bundle may not")


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of every field of one message: an int for varints, bytes for everything else."""
    view = memoryview(message)
    at, end = 0, len(view)
    while at < end:
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(view, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise _MalformedError
        if number == 0 or size > end - at:
            raise _MalformedError
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _MalformedError
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise _MalformedError


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _MalformedError
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")
