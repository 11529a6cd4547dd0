"""A torch module in a chain, `nn.Sequential` in any depth, as a Graph: a plain ANN, or neurons of spikingjelly or snntorch.

Layers are told apart by the names of their classes and packages, so that neither tool needs to be there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurodeploy.errors import UsageError
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array, Pair
from neurodeploy.models.chain import Chain
from neurodeploy.models.foreign_neurons import Leaky, NotExact, SpikingJelly
from neurodeploy.models.networks import Network, to_graph

_SKIPPED = {"Dropout", "Dropout2d", "Identity", "AlphaDropout"}  # what evaluation leaves out
_CONTAINERS = {"Sequential", "SeqToANNContainer", "MultiStepContainer", "StepModeContainer"}
_PACKAGES = ("torch", "spikingjelly", "snntorch", "neurodeploy")
_RESETS = {0: "subtract", 1: "zero"}


def from_torch(
    module: nn.Module, input_shape: Sequence[int], *, n_timesteps: int = 1, n_classes: int | None = None,
    metadata: dict[str, Any] | None = None,
) -> Graph:
    """The network of a module in evaluation mode, nodes named by module paths.

    input_shape (C, H, W) or (n,), without time and batch. n_classes: of the read-out, the mean of equal groups of outputs;
    default one class for each output of a network that ends in a linear layer, none for one that ends in neurons. A ReLU
    becomes a Relu, which no chip runs: `nd.convert` makes neurons of it. metadata: plain JSON values, such as
    {"data": {"name": "digits"}}.

    Raises UsageError naming the layer that has no equal here.

    >>> graph = from_torch(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (1, 2, 2))
    >>> [type(n).__name__ for n in graph.nodes]
    ['Input', 'Flatten', 'Linear', 'Relu', 'Linear', 'Vote']
    """
    if isinstance(module, Network):
        return to_graph(module)
    where = type(module).__name__
    chain = Chain(input_shape, where)
    for name, layer in _layers(module, "", where):
        _add(chain, name, layer)
    if len(chain.nodes) == 1:
        raise UsageError("no layers", where=where, remedy="Give nn.Sequential of its layers")
    ends_in_neurons = chain.nodes[-1].is_neuron
    if n_classes is not None or not ends_in_neurons:
        if len(chain.shape) != 1:
            raise chain.fail(chain.nodes[-1].name, f"the output is a map {list(chain.shape)}",
                             remedy="Put nn.Flatten() at the end")
        chain.vote("vote", chain.shape[0] if n_classes is None else n_classes)
    return chain.graph(n_timesteps, dict(metadata or {}))


def _layers(module: nn.Module, name: str, where: str) -> Iterator[tuple[str, nn.Module]]:
    """(path, layer) of every layer of a chain, containers opened."""
    kind, package = type(module).__name__, type(module).__module__.partition(".")[0]
    known = package in _PACKAGES  # a class of somebody else may have the same name
    if known and kind in _CONTAINERS:
        for key, child in module._modules.items():  # named_children leaves out what occurs again, such as one ReLU for all
            if child is not None:
                yield from _layers(child, f"{name}.{key}".lstrip("."), where)
    elif known and (kind in _SKIPPED or kind in _ADDERS):
        yield name or kind.lower(), module
    else:
        children = [key for key, _ in module.named_children()]
        raise UsageError(
            f"{type(module).__module__}.{kind} is no layer that is known", where=f"{where}: {name}" if name else where,
            limit=f"Known: {', '.join(_ADDERS)} of {', '.join(_PACKAGES)}, in nn.Sequential", code="no_layer",
            remedy=f"Nobody can see from its children ({', '.join(children[:6])}) in which order it runs them: give "
            "nn.Sequential of its layers, in the order of the data" if children else "Replace it by one of them",
        )


def _add(chain: Chain, name: str, layer: nn.Module) -> None:
    add = _ADDERS.get(type(layer).__name__)
    if add is not None:
        try:
            add(chain, name, layer)
        except NotExact as error:
            raise chain.fail(name, str(error), remedy="Train with neurons that can be converted (docs/models.md)") from error


def _conv2d(chain: Chain, name: str, layer: Any) -> None:
    padding = layer.padding
    if isinstance(padding, str):
        spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if padding == "same" and any(span % 2 for span in spans):
            raise chain.fail(name, "padding 'same' of an even kernel", remedy="Give the padding as numbers")
        padding = (spans[0] // 2, spans[1] // 2) if padding == "same" else (0, 0)
    if layer.padding_mode != "zeros":
        raise chain.fail(name, f"padding_mode {layer.padding_mode!r}", "Zeros")
    chain.conv2d(name, _array(layer.weight), _optional(layer.bias), stride=_pair(layer.stride), padding=_pair(padding),
                 dilation=_pair(layer.dilation), groups=layer.groups)


def _linear(chain: Chain, name: str, layer: Any) -> None:
    chain.linear(name, _array(layer.weight), _optional(layer.bias))


def _batch_norm(chain: Chain, name: str, layer: Any) -> None:
    if layer.running_mean is None:
        raise chain.fail(name, "running statistics are missing", remedy="Build it with track_running_stats=True")
    mean = _array(layer.running_mean)
    gamma, beta = _optional(layer.weight), _optional(layer.bias)
    chain.batch_norm(name, mean, _array(layer.running_var), np.ones_like(mean) if gamma is None else gamma,
                     np.zeros_like(mean) if beta is None else beta, layer.eps)


def _pool(kind: str) -> Callable[[Chain, str, Any], None]:
    def add(chain: Chain, name: str, layer: Any) -> None:
        odd = getattr(layer, "ceil_mode", False) or getattr(layer, "dilation", 1) != 1
        if odd or getattr(layer, "divisor_override", None) is not None or getattr(layer, "return_indices", False):
            raise chain.fail(name, "a pool with ceil_mode, dilation, return_indices or divisor_override", "Plain pools")
        chain.pool(name, kind, _pair(layer.kernel_size), _pair(layer.stride or layer.kernel_size), _pair(layer.padding))

    return add


def _adaptive(chain: Chain, name: str, layer: Any) -> None:
    chain.pool_to(name, _pair(layer.output_size))


def _flatten(chain: Chain, name: str, layer: Any) -> None:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise chain.fail(name, f"flattens dimensions {layer.start_dim} to {layer.end_dim}", "1 to -1: all but the batch")
    chain.flatten(name)


def _relu(chain: Chain, name: str, layer: Any) -> None:
    chain.relu(name)


def _qcfs(chain: Chain, name: str, layer: Any) -> None:
    chain.qcfs(name, _scalar(layer.up, "up"), layer.levels)


def _jelly(chain: Chain, name: str, layer: Any) -> None:
    tau = getattr(layer, "tau", None)
    if hasattr(layer, "w"):
        tau = 1 + math.exp(-_scalar(layer.w, "w"))
    elif type(layer).__name__ == "IFNode":
        tau = None
    v_reset = None if layer.v_reset is None else float(layer.v_reset)
    found = SpikingJelly(float(layer.v_threshold), v_reset, tau, getattr(layer, "decay_input", False))
    chain.neurons(name, found.conventions())


def _leaky(chain: Chain, name: str, layer: Any) -> None:
    if layer.state_quant:
        raise NotExact("state_quant: its membrane is rounded, and that of neurons in real numbers is not")
    chain.neurons(name, Leaky(
        _scalar(layer.beta, "beta"), _scalar(layer.threshold, "threshold"),
        _RESETS.get(int(layer.reset_mechanism_val), "none"), bool(getattr(layer, "reset_delay", True)), bool(layer.inhibition),
        _scalar(layer.graded_spikes_factor, "graded_spikes_factor"),
    ).conventions())


_ADDERS: dict[str, Callable[[Chain, str, Any], None]] = {
    "Conv2d": _conv2d, "Linear": _linear, "BatchNorm2d": _batch_norm, "BatchNorm1d": _batch_norm, "ReLU": _relu,
    "MaxPool2d": _pool("max"), "AvgPool2d": _pool("avg"), "AdaptiveAvgPool2d": _adaptive, "Flatten": _flatten, "Qcfs": _qcfs,
    "IFNode": _jelly, "LIFNode": _jelly, "ParametricLIFNode": _jelly, "Leaky": _leaky,
}


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().to("cpu", torch.float64).numpy().copy())


def _optional(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else _array(tensor)


def _scalar(value: Any, what: str) -> float:
    values = np.unique(_array(torch.as_tensor(value)))
    if values.size != 1:
        raise NotExact(f"{what} holds {values.size} different values, and a layer has one")
    return float(values[0])


def _pair(value: Any) -> Pair:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)
