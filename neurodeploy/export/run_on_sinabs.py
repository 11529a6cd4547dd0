"""This bundle's network for sinabs: `network()` is an nn.Sequential, `dynapcnn()` a DynapcnnNetwork of the same integers.

    python sinabs_model.py            build it, let sinabs make its configuration, compare every field with speck.json
    >>> import sinabs_model; snn = sinabs_model.dynapcnn(); snn(events_raster)      # clocked simulation

Needs numpy, torch, samna and sinabs 3.1.3 (with torch 1.x numpy below 2), nothing of neurodeploy. Where the installed samna
is 0.7.1.0, the last on the package index with a binary, its module dynapcnn stands in for the chip's.
Exit codes: 0 equal, 2 wrong use, 4 a field differs, 5 a package is missing, 6 a file is none of ours.

Weights and thresholds are the integers of speck.json divided by a power of two; sinabs multiplies by it again where a core
has a weight at the end of its 8 bits. Where one has not, sinabs would stretch it: then the network holds the integers
themselves and is built with discretize=False. sinabs fires several times in a timestep and knows no order of events, the chip
does not: same integers, other spikes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

OK, USAGE, DIFFERS, MISSING, CHANGED = 0, 2, 4, 5, 6
DOCUMENT, ARRAYS = "speck.json", "speck_arrays.npz"
TENSORS = {"weights": "weights_kill_bit", "biases": "biases_kill_bit", "neurons_initial_value": "neurons_value_kill_bit"}
PLAIN = ("threshold_high", "threshold_low", "return_to_zero", "leak_enable", "monitor_enable")
IMPORTED_BY_SINABS = ("speck2e", "speck2f")  # modules of samna that sinabs 3.1.3 imports, whichever chip is meant
HERE = Path(__file__).resolve().parent


class RunnerError(Exception):
    """A refusal with the exit code it has."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def fail(code: int, message: str) -> NoReturn:
    raise RunnerError(code, message)


def read_configuration(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(speck.json, its arrays by name)."""
    document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    if document.get("format") != "neurodeploy speck configuration" or document.get("schema_version") != 1:
        fail(CHANGED, f"{folder / DOCUMENT}: no configuration of schema version 1")
    with np.load(folder / ARRAYS, allow_pickle=False) as file:
        return document, {name: file[name] for name in file.files if name != "graph.json"}


def chain(document: dict[str, Any]) -> list[tuple[str, int]]:
    """(core, pooling behind it) from the input on."""
    if document["sinabs"]["reason"] is not None:
        fail(USAGE, "sinabs cannot hold this network: {}".format(document["sinabs"]["reason"]))
    cores, found = document["cnn_layers"], []
    core = str(document["input"]["destinations"][0]["layer"])
    while True:
        enabled = [d for d in cores[core]["destinations"] if d["enable"]]
        found.append((core, enabled[0]["pooling"] if enabled else 1))
        if not enabled:
            return found
        core = str(enabled[0]["layer"])
        if len(found) > len(cores):
            fail(CHANGED, "the cores feed each other in a ring")


# ---------------------------------------------------------------- sinabs


def load_sinabs() -> Any:
    """The package `sinabs` with its backend; a stand-in for the chip's module where samna is older than the chip."""
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torch.fx")  # sinabs' tracer takes it for loaded
        samna = importlib.import_module("samna")
    except ImportError as error:
        fail(MISSING, f"{error}; needed are numpy, torch, samna and sinabs 3.1.3")
    torch.set_num_threads(1)
    if not hasattr(samna, "speck2f") and hasattr(samna, "dynapcnn"):
        older = samna.dynapcnn
        older.configuration.SpeckConfiguration = older.configuration.DynapcnnConfiguration
        for name in IMPORTED_BY_SINABS:
            setattr(samna, name, older)
            sys.modules[f"samna.{name}"] = older
            sys.modules[f"samna.{name}.configuration"] = older.configuration
        sys.modules.setdefault("samnagui", types.ModuleType("samnagui"))  # a window nobody opens
    try:
        sinabs = importlib.import_module("sinabs")
        for part in ("layers", "activation", "backend.dynapcnn", "backend.dynapcnn.chip_factory"):
            importlib.import_module(f"sinabs.{part}")
    except ImportError as error:
        fail(MISSING, f"{error}; needed are numpy, torch, samna and sinabs 3.1.3")
    return sinabs


def network(folder: Path = HERE) -> Any:
    """The nn.Sequential: convolutions, IAFSqueeze, SumPool2d. A linear layer is a convolution over its whole map."""
    return _network(*read_configuration(folder))


def _network(document: dict[str, Any], arrays: dict[str, Any]) -> Any:
    sinabs, torch = load_sinabs(), importlib.import_module("torch")
    factor = document["sinabs"]["factor"] if document["sinabs"]["discretize"] else 1.0
    modules: list[Any] = []
    for core, pooling in chain(document):
        entry = document["cnn_layers"][core]
        sizes = entry["dimensions"]
        weights = np.swapaxes(arrays[entry["weights"]], 2, 3).astype(np.float32) / np.float32(factor)
        biases = arrays[entry["biases"]].astype(np.float32) / np.float32(factor)
        stride, padding = ((sizes[name]["y"], sizes[name]["x"]) for name in ("stride", "padding"))
        conv = torch.nn.Conv2d(
            weights.shape[1], weights.shape[0], weights.shape[2:], stride=stride, padding=padding, bias=bool(biases.any())
        )
        conv.weight.data = torch.from_numpy(np.ascontiguousarray(weights))
        if biases.any():
            conv.bias.data = torch.from_numpy(biases)
        reset = sinabs.activation.MembraneReset() if entry["return_to_zero"] else sinabs.activation.MembraneSubtract()
        modules += [conv, sinabs.layers.IAFSqueeze(
            batch_size=1, spike_threshold=torch.tensor(entry["threshold_high"] / factor), reset_fn=reset,
            min_v_mem=entry["threshold_low"] / factor,
        )]
        if pooling > 1:
            modules.append(sinabs.layers.SumPool2d(pooling))
    return torch.nn.Sequential(*modules)


def dynapcnn(folder: Path = HERE) -> Any:
    """The DynapcnnNetwork that holds the integers of speck.json."""
    return _dynapcnn(*read_configuration(folder))


def _dynapcnn(document: dict[str, Any], arrays: dict[str, Any]) -> Any:
    model = _network(document, arrays)
    make = load_sinabs().backend.dynapcnn.DynapcnnNetwork
    return make(
        model, input_shape=tuple(document["input"]["shape"]), dvs_input=False, discretize=document["sinabs"]["discretize"]
    )


def make_config(document: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """samna's configuration, made and validated by sinabs, with this bundle's placement."""
    device = document["vendor"]["device"]
    known = load_sinabs().backend.dynapcnn.chip_factory.ChipFactory.supported_devices
    if device not in known:
        fail(USAGE, "sinabs makes no configuration for {}; it knows {}".format(device, ", ".join(known)))
    model = _dynapcnn(document, arrays)
    cores = [int(core) for core, _ in chain(document)]
    order = sorted(model.dynapcnn_layers)  # topological, and so is the chain
    placed = {layer: cores[i] for i, layer in enumerate(order)}
    return model.make_config(layer2core_map=placed, device=device, config_modifier=without_kill_bits)


def without_kill_bits(configuration: Any) -> Any:
    """Modules of 2021 want arrays of switched-off neurons of the right shapes; later chips have none."""
    for layer in configuration.cnn_layers:
        for field, kill_bits in TENSORS.items():
            if hasattr(layer, kill_bits):
                setattr(layer, kill_bits, np.zeros(np.shape(getattr(layer, field)), dtype=bool).tolist())
    return configuration


def describe(configuration: Any, cores: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(cnn_layers as in speck.json, arrays) of samna's configuration."""
    entries, arrays = {}, {}
    for core in cores:
        layer = configuration.cnn_layers[int(core)]
        sizes = layer.dimensions
        entry: dict[str, Any] = {
            "layer": "",
            "dimensions": {
                **{name: shape_of(getattr(sizes, name)) for name in ("input_shape", "output_shape")},
                **{name: xy_of(getattr(sizes, name)) for name in ("stride", "padding")}, "kernel_size": int(sizes.kernel_size),
            },
            "destinations": [
                {"enable": bool(d.enable), **{name: int(getattr(d, name)) for name in ("layer", "pooling", "feature_shift")}}
                for d in layer.destinations
            ],
        }
        for field in PLAIN:
            value = getattr(layer, field)
            entry[field] = bool(value) if isinstance(value, bool) else int(value)
        for field in TENSORS:
            entry[field] = f"{core}/{field}"
            arrays[entry[field]] = np.array(getattr(layer, field), dtype=np.int64)
        entries[core] = entry
    return entries, arrays


def xy_of(pair: Any) -> dict[str, int]:
    return {"x": int(pair.x), "y": int(pair.y)}


def shape_of(shape: Any) -> dict[str, Any]:
    return {"size": xy_of(shape.size), "feature_count": int(shape.feature_count)}


def versions() -> dict[str, Any]:
    from importlib import metadata

    found: dict[str, Any] = {}
    for name in ("sinabs", "samna", "torch", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


# ---------------------------------------------------------------- command


def first_difference(document: dict[str, Any], arrays: dict[str, Any]) -> str | None:
    """The first field of sinabs' configuration that is not as in speck.json, None where all are."""
    cores = [core for core, _ in chain(document)]
    entries, made = describe(make_config(document, arrays), cores)
    for core in cores:
        mine, theirs = document["cnn_layers"][core], entries[core]
        for field in ("dimensions", *PLAIN):
            if mine[field] != theirs[field]:
                return f"core {core}, {field}: {mine[field]} != {theirs[field]}"
        enabled = [[d for d in entry["destinations"] if d["enable"]] for entry in (mine, theirs)]
        if enabled[0] != enabled[1]:
            return f"core {core}, destinations: {enabled[0]} != {enabled[1]}"
        for field in TENSORS:
            ours, got = arrays[mine[field]], made[theirs[field]]
            if ours.shape != got.shape or (ours != got).any():
                n = int((ours != got).sum()) if ours.shape == got.shape else -1
                return f"core {core}, {field}: {n} of {ours.size} values differ"
    return None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=HERE, help="folder of the bundle")
    arguments = parser.parse_args(argv)
    try:
        document, arrays = read_configuration(arguments.bundle)
        found = first_difference(document, arrays)
    except RunnerError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    if found is not None:
        sys.stdout.write(f"sinabs makes other values: {found}\n")
        return DIFFERS
    sys.stdout.write("sinabs {} makes the same configuration: {} cores\n".format(versions()["sinabs"], len(chain(document))))
    return OK


if __name__ == "__main__":
    sys.exit(main())
