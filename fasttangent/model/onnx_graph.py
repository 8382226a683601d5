"""A model as an ONNX graph: what is made of a table's columns, the scaling, the network, and the units of the user."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent._version import __version__
from fasttangent.common.columns import Column, Columns
from fasttangent.common.files import replacing
from fasttangent.common.powers import CLOSE, Power
from fasttangent.problem.target_scaling import power_of

if TYPE_CHECKING:
    from fasttangent.problem.network import Network
    from fasttangent.problem.scaling import Scaling

OPSET, OPSET_ML, IR = 17, 3, 8  # of 2022, which every runtime since then reads
ML = "ai.onnx.ml"
PREDICTION = "prediction"


class Exported(NamedTuple):
    """What a graph is made of."""

    network: Network
    scaling: Scaling
    params: np.ndarray
    columns: Columns | None  # None, or plain: one input, "X"
    flat: bool


class Graph:
    """Nodes and constants, each with a name of its own, under a prefix that no input's name has."""

    def __init__(self, taken: tuple[str, ...]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._prefix = "/"
        while any(name.startswith(self._prefix) for name in taken):
            self._prefix += "/"

    def _name(self) -> str:
        return f"{self._prefix}{len(self.nodes)}.{len(self.constants)}"

    def constant(self, values: Any, kind: Any = np.float64) -> str:
        """The name of a constant."""
        from onnx import numpy_helper

        name = self._name()
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The name of what an operator makes of its inputs."""
        from onnx import helper

        name = self._name()
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name


def to_onnx(exported: Exported, kind: np.dtype, path: str | os.PathLike[str] | None) -> Any:
    """See `Model.to_onnx`."""
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise ImportError("to_onnx needs onnx: pip install 'fasttangent[onnx]'") from None

    columns = exported.columns
    encodes = columns is not None and not columns.plain
    names = columns.names if columns is not None and encodes else ("X",)
    for name in names:
        if name in ("", PREDICTION):
            raise ValueError(
                f"columns must have names that an ONNX graph may give to its inputs, got {name!r}; rename it"
            )
    graph = Graph(names)
    if columns is not None and encodes:
        text = {True: TensorProto.STRING, False: TensorProto.DOUBLE}
        inputs = [
            helper.make_tensor_value_info(one.name, text[one.kind == "category"], [None, 1])
            for one in columns.used
        ]
        rows = graph("Concat", *[part for one in columns.used for part in _encoded(graph, one)], axis=1)
    else:
        inputs = [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, exported.network.sizes[0]])]
        rows = "X"
    last = _predicted(graph, exported, rows, kind)
    graph.nodes.append(helper.make_node("Identity", [last], [PREDICTION]))
    shape = [None] if exported.flat else [None, exported.network.sizes[-1]]
    output = helper.make_tensor_value_info(PREDICTION, TensorProto.DOUBLE, shape)
    found = helper.make_model(
        helper.make_graph(graph.nodes, "fasttangent", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, OPSET_ML)],
        producer_name="fasttangent", producer_version=__version__, ir_version=IR,
    )  # fmt: skip
    onnx.checker.check_model(found)
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_bytes(found.SerializeToString())
    return found


def _predicted(graph: Graph, exported: Exported, rows: str, kind: np.dtype) -> str:
    """The network between the scaling of its inputs and that of its outputs, which are in float64."""
    network, scaling, layout = exported.network, exported.scaling, exported.network.layout
    away = graph("Sub", rows, graph.constant(scaling.x_mean))
    h = graph("Div", away, graph.constant(scaling.x_scale))
    h = _cast(graph, h, kind)
    for l in range(layout.n_layers):
        if l:
            h = _activated(graph, network.activation, h, kind)
        W, b = layout.weights(exported.params, l), layout.biases(exported.params, l)
        h = graph("Add", graph("MatMul", h, graph.constant(W, kind)), graph.constant(b, kind))
    f = _cast(graph, h, np.dtype(np.float64))
    f = graph("Add", graph("Mul", f, graph.constant(scaling.y_scale)), graph.constant(scaling.y_mean))
    if (power := power_of(scaling)) is not None:
        f = _brought_back(graph, f, Power(*power))
    return graph("Squeeze", f, graph.constant([1], np.int64)) if exported.flat else f


def _cast(graph: Graph, values: str, kind: np.dtype) -> str:
    from onnx import TensorProto

    return graph("Cast", values, to=TensorProto.FLOAT if kind == np.float32 else TensorProto.DOUBLE)


def _activated(graph: Graph, activation: str, z: str, kind: np.dtype) -> str:
    if activation == "identity":
        return z
    if activation in ("tanh", "relu"):
        return graph(activation.title(), z)
    if activation == "silu":
        half = graph("Mul", z, graph.constant(0.5, kind))  # z / (1 + exp(-z)) = z/2 + z/2 tanh(z/2)
        return graph("Add", half, graph("Mul", half, graph("Tanh", half)))
    if activation == "softplus":  # max(z, 0) + log(1 + exp(-|z|)), which overflows nowhere
        tail = graph("Exp", graph("Neg", graph("Abs", z)))
        return graph("Add", graph("Relu", z), graph("Log", graph("Add", tail, graph.constant(1, kind))))
    if activation == "gelu":
        erf = graph("Erf", graph("Mul", z, graph.constant(np.sqrt(0.5), kind)))
        half = graph("Mul", z, graph.constant(0.5, kind))
        return graph("Mul", half, graph("Add", erf, graph.constant(1, kind)))
    raise ValueError(f"activation must be one that ONNX can be told, got {activation!r}")


def _encoded(graph: Graph, column: Column) -> list[str]:
    """What is made of one column (n, 1): parts (n, k)."""
    if column.kind == "category":
        n, empty = len(column.levels), "" not in column.levels
        numbers = graph(
            "LabelEncoder", column.name, domain=ML, keys_strings=[*column.levels, *[""] * empty],
            values_int64s=[*range(n), *[n] * empty], default_int64=n + 1,
        )  # fmt: skip
        each = graph("Gather", graph.constant(column.table), numbers, axis=0)
        return [graph("Squeeze", each, graph.constant([1], np.int64))]
    missing, values, mean = graph("IsNaN", column.name), column.name, column.mean
    if column.power:
        values = _transformed(graph, values, Power(*column.power))
    if column.kind == "moment":
        values, mean = graph("Sub", values, graph.constant(column.mean)), 0.0
    parts = [graph("Where", missing, graph.constant(mean), values)]
    return parts + [_cast(graph, missing, np.dtype(np.float64))] * (column.missing > 0)


def _transformed(graph: Graph, values: str, how: Power) -> str:
    """As `powers.transformed`."""
    z = graph("Div", graph("Sub", values, graph.constant(how.centre)), graph.constant(how.unit))
    one = graph.constant(1)
    size = graph("Log", graph("Add", graph("Abs", z), one))

    def side(p: float) -> str:
        if abs(p) < CLOSE:
            return size
        power = graph("Exp", graph("Mul", size, graph.constant(p)))
        return graph("Div", graph("Sub", power, one), graph.constant(p))

    below = graph("Less", z, graph.constant(0))
    return graph("Where", below, graph("Neg", side(2 - how.power)), side(how.power))


def _brought_back(graph: Graph, values: str, how: Power) -> str:
    """As `powers.inverse`, of a power from 0 to 2."""
    size, one = graph("Abs", values), graph.constant(1)

    def side(p: float) -> str:
        if abs(p) >= CLOSE:
            inner = graph("Add", graph("Mul", size, graph.constant(p)), one)
            return graph("Sub", graph("Exp", graph("Div", graph("Log", inner), graph.constant(p))), one)
        return graph("Sub", graph("Exp", size), one)

    below = graph("Less", values, graph.constant(0))
    z = graph("Where", below, graph("Neg", side(2 - how.power)), side(how.power))
    return graph("Add", graph("Mul", z, graph.constant(how.unit)), graph.constant(how.centre))
