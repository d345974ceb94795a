"""An integer program as ONNX with eight-bit weights and activations, in the form that ONNX Runtime knows as QDQ.

Every tensor over time is quantised and dequantised again with the program's scales, and weights are int8 with a scale
for each output; between them stand ordinary operations. A runtime that knows the pattern computes in integers, any
other in floating point. The signal stays float32, and so do vectors. Answers differ a little from the program's, whose
roundings ONNX cannot say.
"""

from typing import Any

import numpy as np

from lrhnet_jax.deploy.int8 import graph as floats
from lrhnet_jax.deploy.int8 import quantize
from lrhnet_jax.deploy.int8.program import LOWEST, Program

Array = np.ndarray


def write(
    graph: floats.Graph, program: Program, exclusive: bool, inputs: tuple[str, str], output: str, opset: int
) -> bytes:
    """Returns the ONNX file's content.

    Args:
      graph, program: of one network; from `fuse.fuse` with sums=False: ONNX Runtime knows sums of their own.
      exclusive: softmax instead of the sigmoid.
      inputs, output: names of the signal, the demographics and the probabilities.

    Raises:
      ImportError: if onnx is not installed.
    """
    import onnx
    from onnx import helper

    writer = _Writer(graph, program)
    signal, demographics = inputs
    writer.node("Transpose", [signal], floats.SIGNAL + ":turned", perm=[0, 2, 1])
    writer.values |= {floats.SIGNAL: floats.SIGNAL + ":turned", floats.DEMOGRAPHICS: demographics}
    for operation in graph.operations.values():
        if not isinstance(operation, floats.Input):
            writer.operation(operation)
    writer.node("Softmax" if exclusive else "Sigmoid", [writer.values[graph.output]], output)
    shapes: dict[str, list[str | int | None]] = {
        signal: ["batch", program.window, program.leads],
        demographics: ["batch", 5],
    }
    shapes[output] = ["batch", program.output.channels]
    described = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in shapes}
    whole = helper.make_graph(
        writer.nodes, "network", [described[signal], described[demographics]], [described[output]], writer.constants
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Writer:
    """Collects nodes and constants. Tensors over time are (batch, channels, rows) here."""

    def __init__(self, graph: floats.Graph, program: Program):
        self.graph, self.program = graph, program
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.values: dict[str, str] = {}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def operation(self, operation: floats.Operation) -> None:
        name, x = operation.name, self.values[operation.x]
        match operation:
            case floats.Linear():
                y = self._linear(operation, x)
            case floats.MaxPool():
                y = self._pooled(operation, x)
            case floats.Means():
                y = self._means(operation, x)
            case floats.Maximum():
                y = self.node("ReduceMax", [x], name, axes=[2], keepdims=0)
            case floats.Sigmoid():
                y = self.node("Sigmoid", [x], name)
            case floats.Concat():
                y = self.node("Concat", [self.values[part] for part in operation.inputs], name, axis=1)
            case _:
                raise TypeError(f"no such operation: {operation}")
        self.values[name] = self._quantized(name, y) if operation.rows else y

    def _linear(self, operation: floats.Linear, x: str) -> str:
        name, source = operation.name, self.program.tensors[operation.x]
        channels = (1, -1, 1) if operation.rows else (1, -1)

        def put(what: str, values: Array) -> str:
            return self.constant(f"{name}:{what}", values.astype(np.float32).reshape(channels))

        if operation.kind == "pointwise":
            y = x
            if (operation.kernel != 1).any():
                y = self.node("Mul", [y, put("scale", operation.kernel)], f"{name}:scaled")
            if operation.bias.any():
                y = self.node("Add", [y, put("bias", operation.bias)], f"{name}:biased")
        else:
            y = self._product(operation, x, source.kind != "int16")
        if operation.gate:
            gate = self.values[operation.gate]
            if operation.rows:
                axes = self.constant(f"{name}:axes", np.array([2], np.int64))
                gate = self.node("Unsqueeze", [gate, axes], f"{name}:gate")
            y = self.node("Mul", [y, gate], f"{name}:gated")
        if operation.residual:
            other = self.values[operation.residual]
            if (operation.residual_gain != 1).any():
                other = self.node("Mul", [other, put("gain", operation.residual_gain)], f"{name}:residual")
            y = self.node("Add", [y, other], f"{name}:sum")
        if operation.offset.any():
            y = self.node("Add", [y, put("offset", operation.offset)], f"{name}:moved")
        # Quantising cuts off at its lowest value by itself.
        saturates = operation.rows and LOWEST[self.program.tensors[name].kind] == 0 and not operation.low.any()
        if np.isfinite(operation.low).any() and not saturates:
            y = self.node("Max", [y, put("low", operation.low)], f"{name}:from_low")
        if np.isfinite(operation.high).any():
            y = self.node("Min", [y, put("high", operation.high)], f"{name}:to_high")
        return y

    def _product(self, operation: floats.Linear, x: str, quantized: bool) -> str:
        """A convolution or dense layer; its weights are dequantised from int8."""
        name = operation.name
        weights, scale = quantize.weights_of(operation, self.program.tensors[operation.x])
        conv = operation.kind == "conv"
        if conv:
            taps, inputs, outputs = operation.kernel.shape
            weights = weights.reshape(outputs, taps, inputs).transpose(0, 2, 1)
        inputs_of = [x, self._dequantized(f"{name}:weights", weights, scale, 0)]
        if operation.bias.any():
            if quantized and conv:
                scale = scale * self.program.tensors[operation.x].scale
                bias = np.rint(operation.bias / scale).astype(np.int32)
                inputs_of.append(self._dequantized(f"{name}:bias", bias, scale, 0))
            else:
                inputs_of.append(self.constant(f"{name}:bias", operation.bias.astype(np.float32)))
        if not conv:
            return self.node("Gemm", inputs_of, f"{name}:product", transB=1)
        pads = [operation.before, operation.after]
        return self.node("Conv", inputs_of, f"{name}:product", strides=[operation.stride], pads=pads)

    def _means(self, operation: floats.Means, x: str) -> str:
        name, rows = operation.name, self.graph.operations[operation.x].rows
        if operation.taps == 1:
            return self.node("ReduceMean", [x], name, axes=[2], keepdims=0)
        after = max(0, operation.count + operation.taps - 1 - operation.before - rows)
        pads = self.constant(f"{name}:pads", np.array([0, 0, operation.before, 0, 0, after], np.int64))
        padded = self.node("Pad", [x, pads], f"{name}:padded")
        seen = []
        for tap in range(operation.taps):
            part = self._rows(f"{name}:{tap}", padded, tap, tap + operation.count)
            seen.append(self.node("ReduceMean", [part], f"{name}:{tap}:mean", axes=[2], keepdims=0))
        return self.node("Concat", seen, name, axis=1)

    def _pooled(self, operation: floats.MaxPool, x: str) -> str:
        name, rows = operation.name, self.graph.operations[operation.x].rows
        end = (operation.rows - 1) * operation.stride + operation.window - operation.before
        after = max(0, end - rows)
        if (rows + operation.before + after - operation.window) // operation.stride + 1 != operation.rows:
            x = self._rows(name, x, 0, end)
        pads = [operation.before, after]
        sizes = {"kernel_shape": [operation.window], "strides": [operation.stride], "pads": pads}
        return self.node("MaxPool", [x], f"{name}:pooled", **sizes)

    def _rows(self, name: str, x: str, begin: int, end: int) -> str:
        """Rows `begin` to `end` of a tensor."""
        places = [
            self.constant(f"{name}:{what}", np.array([value], np.int64))
            for what, value in (("begin", begin), ("end", end), ("axis", 2))
        ]
        return self.node("Slice", [x, *places], f"{name}:rows")

    def _quantized(self, name: str, y: str) -> str:
        tensor = self.program.tensors[name]
        kind = np.dtype(tensor.kind)
        scale = self.constant(f"{name}:step", np.array(tensor.scale, np.float32))
        zero = self.constant(f"{name}:zero", np.array(0, kind))
        small = self.node("QuantizeLinear", [y, scale, zero], f"{name}:quantized")
        return self.node("DequantizeLinear", [small, scale, zero], f"{name}:value")

    def _dequantized(self, name: str, values: Array, scale: Array, axis: int) -> str:
        parts = [
            self.constant(f"{name}:integers", values),
            self.constant(f"{name}:scale", scale.astype(np.float32)),
            self.constant(f"{name}:zero", np.zeros(len(scale), values.dtype)),
        ]
        return self.node("DequantizeLinear", parts, name, axis=axis)
