"""A network as ONNX graphs, traced from the torchaudio frontend and the PyTorch model."""

import copy
import io
import json
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, cast

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from rivulet.acoustic.arrays import (
    CELL_BIAS,
    CELL_INPUT,
    CELL_RECURRENT,
    GROUP,
    QUANTIZED,
    SCALES,
)
from rivulet.acoustic.frames import HOP, STRIDE, WINDOW
from rivulet.acoustic.log_mel import LogMel, MatrixLogMel
from rivulet.acoustic.network import BlockNetwork
from rivulet.acoustic.onnx import DFT, LAYOUT

OPSET = 17  # has LayerNormalization
INT8_PRODUCTS = 4  # MatMulNBits may round what it multiplies to 8 bits too, each row by itself
CELLS = ("GRU", "LSTM", "RNN")  # operators
INPUTS, OUTPUTS = ("samples", "state"), ("log_probs", "new_state")


class GruFromProducts(nn.Module):
    """`nn.GRU` of one layer as matrix products, which can have 8-bit weights.

    A trace of it has no loop: the steps follow one another.
    """

    def __init__(self, cell: nn.GRU) -> None:
        """Share the weights of `cell`."""
        super().__init__()
        self.width = cell.hidden_size
        self.ih, self.hh = (nn.Linear(1, 1, device="meta") for _ in range(2))
        for linear, name in ((self.ih, "ih_l0"), (self.hh, "hh_l0")):
            linear.weight = cast(nn.Parameter, getattr(cell, f"weight_{name}"))
            linear.bias = cast(nn.Parameter, getattr(cell, f"bias_{name}"))

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B, k, width) and (1, B, width) → the same, by the formulas of `nn.GRU`."""
        past, outputs = hidden.transpose(0, 1), []
        sizes = [2 * self.width, self.width]
        inputs = (torch.split(part, 1, dim=1) for part in torch.split(self.ih(x), sizes, dim=2))
        for gates, candidate in zip(*inputs, strict=True):
            old_gates, old = torch.split(self.hh(past), sizes, dim=2)
            reset, update = torch.split(torch.sigmoid(gates + old_gates), self.width, dim=2)
            candidate = torch.tanh(candidate + reset * old)
            past = candidate + update * (past - candidate)
            outputs.append(past)
        return torch.cat(outputs, dim=1), past.transpose(0, 1)


class RowByFrames(nn.Module):
    """The row convolution one output at a time, so that its bits do not depend on the block."""

    def __init__(self, row: nn.Conv1d) -> None:
        """Share the weights of `row`."""
        super().__init__()
        self.weight, self.bias = row.weight, row.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, lookahead + k) → (B, width, k)."""
        width, _, taps = self.weight.shape
        outputs = [
            functional.conv1d(x[..., i : i + taps], self.weight, self.bias, groups=width)
            for i in range(x.shape[2] - taps + 1)
        ]
        return torch.cat(outputs, dim=2)


def export_graph(reference: BlockNetwork) -> bytes:
    """Return the graph for any block and batch in float32; its weights are left out."""
    network = _for_onnx(reference)
    graph = _trace(network, 1, {1: "samples"}, {1: "frames"})
    _name_after_weights(graph)
    return _without_weights(graph, network)


def export_8bit_graph(reference: BlockNetwork, frames: int) -> bytes:
    """Return the graph for a block of so many output frames and any batch, in 8 bits.

    Its weights are left out.

    Only a GRU can be exported so.
    """
    network = _for_onnx(reference)
    for layer in network.model.layers:
        layer.cell = GruFromProducts(cast(nn.GRU, layer.cell))
    network.model.row = cast(nn.Conv1d, RowByFrames(network.model.row))
    graph = _trace(network, frames, {}, {})
    _name_after_weights(graph)
    _quantize(graph)
    return _without_weights(graph, network)


@torch.no_grad()
def _for_onnx(reference: BlockNetwork) -> BlockNetwork:
    """Return a copy of `reference` whose Fourier transform every engine can run.

    Its weights are noise: where two are equal, as new biases are, the exporter makes one of them.
    """
    model = copy.deepcopy(reference.model)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.uniform_(generator=generator)
    frontend = MatrixLogMel(cast(LogMel, reference.frontend))
    return BlockNetwork(frontend, reference.statistics, model).eval()


@torch.no_grad()
def _trace(
    network: BlockNetwork, length: int, samples: dict[int, str], frames: dict[int, str]
) -> onnx.ModelProto:
    """Trace `length` output frames of two streams; the axes named after it are free as well."""
    count = (length * STRIDE - 1) * HOP + WINDOW
    example = torch.zeros(2, count), torch.zeros(2, network.layout.size)
    streams = {0: "streams"}
    axes = {"samples": streams | samples, "state": streams}
    axes |= {"log_probs": streams | frames, "new_state": streams}
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is the old exporter; the new misorders GRUs (#189225)
        torch.onnx.export(
            network,
            example,
            cast(Any, out),  # a file will do, whatever its annotation says
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(out.getvalue())


def _name_after_weights(model: onnx.ModelProto) -> None:
    """Give what the exporter made of weights the weights' names, those of the PyTorch model."""
    names = {tensor.name: _weight_name(tensor.name) for tensor in model.graph.initializer}
    copies = [n for n in model.graph.node if n.op_type == "Identity" and n.input[0] in names]
    for node in copies:  # a weight's second use; that node is named after the weight, too
        model.graph.node.remove(node)
    for node in model.graph.node:
        module = _weight_name(node.name.strip("/").replace("/", ".")).rpartition(".")[0]
        if node.op_type in CELLS:
            suffixes = (CELL_INPUT, CELL_RECURRENT, CELL_BIAS)
            names |= {node.input[1 + i]: module + suffix for i, suffix in enumerate(suffixes)}
        elif node.op_type == "MatMul" and node.input[1].startswith("onnx::"):
            names[node.input[1]] = _weight_name(module + ".weight")
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]


def _weight_name(name: str) -> str:
    """`model.layers.0.cell.hh.weight` → `layers.0.cell.weight_hh_l0`; a second use is `hh_1`."""
    name = name.removeprefix("model.")
    return re.sub(r"\.(ih|hh)(?:_\d+)?\.(weight|bias)$", r".\2_\1_l0", name)


def _quantize(model: onnx.ModelProto) -> None:
    """Replace every product with a weight by `MatMulNBits`, 8 bits and a scale for 32 of them."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    small: dict[str, TensorProto] = {}
    for node in model.graph.node:
        name = node.input[1] if node.op_type == "MatMul" else ""
        if name not in stored or name.startswith("frontend."):
            continue
        columns, rows = stored[name].dims
        groups = -(-columns // GROUP)
        made = name + QUANTIZED, name + SCALES
        small[made[0]] = _outside(made[0], TensorProto.UINT8, (rows, groups, GROUP))
        small[made[1]] = _outside(made[1], TensorProto.FLOAT, (rows * groups,))
        node.op_type, node.domain = "MatMulNBits", "com.microsoft"
        node.input[1:] = made
        sizes = {"K": columns, "N": rows, "bits": 8, "block_size": GROUP}
        for key, value in {**sizes, "accuracy_level": INT8_PRODUCTS}.items():
            node.attribute.append(helper.make_attribute(key, value))
    whole = (tensor for name, tensor in stored.items() if name + QUANTIZED not in small)
    _replace(model.graph.initializer, [*whole, *small.values()])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _without_weights(model: onnx.ModelProto, network: BlockNetwork) -> bytes:
    """Leave out what is handed over when the graph is loaded; write in how a state lies."""
    weights = {_weight_name(name) for name, _ in network.model.named_parameters()} | {DFT}
    tensors = [
        _outside(tensor.name, tensor.data_type, tensor.dims)
        if tensor.name in weights or tensor.name.endswith(CELL_BIAS)
        else tensor
        for tensor in model.graph.initializer
    ]
    _replace(model.graph.initializer, tensors)
    layout = {"size": network.layout.size, "recurrent": network.layout.recurrent}
    helper.set_model_props(model, {LAYOUT: json.dumps(layout)})
    return bytes(model.SerializeToString())


def _outside(name: str, kind: int, shape: Sequence[int]) -> TensorProto:
    """Declare an array that is handed over when the graph is loaded."""
    tensor = TensorProto(name=name, data_type=kind, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    size = math.prod(shape) * helper.tensor_dtype_to_np_dtype(kind).itemsize
    for key, value in {"location": "weights", "offset": "0", "length": str(size)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def _replace(repeated: Any, values: Iterable[Any]) -> None:
    kept = list(values)
    del repeated[:]
    repeated.extend(kept)
