"""The fast simulator against Lava 0.10 on a PilotNet-sized network of LIF neurons: equal spikes, and how much faster.

    python benchmarks/bench_lava.py [--python PATH] [--batch 64] [--steps 16] [--threads 2] [--out FILE]

Layers as in Intel's compiler report (158,509 neurons), random even weights, thresholds set so that layers fire at a few to
15 %, one constant image a sample. Lava runs one sample (it has no batch) with its fixed-point models in a process of its
own: the Python named with --python, or the side environment that `neurodeploy env create loihi2` made. Its time is that of
the timesteps alone, best of several, with one and with as many threads as asked, without its start-up and with the last
layer recorded; ours is the whole call. Trust the figures only if nothing else runs on the machine.

The floor: the multiply-adds of the layers that received anything, at the rate of a large float32 matrix product here, plus
10 bytes a neuron and timestep (a sum and a spike, written once and read once) at the rate of a large copy.
Exit code 1 where a spike differs, 5 where there is no Lava.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import neurodeploy
import numpy as np
import torch
from neurodeploy.errors import EnvironmentMissing, VendorFailure
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Conv2d, Linear
from neurodeploy.ir.serialize import save
from neurodeploy.sim import clocked
from neurodeploy.sim.kernels import Synapse
from neurodeploy.sim.neurons import CubaLayer
from neurodeploy.sim.trace import Recorder, Trace
from neurodeploy.vendor.environments import find
from neurodeploy.vendor.processes import run as run_process
from neurodeploy.vendor.processes import tail

from pilotnet import image_batch, pilotnet, with_rates

PACKAGE = Path(neurodeploy.__file__).parent
Seconds = dict[str, float]


def lava(
    python: Path, graph: IntGraph, x: np.ndarray, threads: int, repeats: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(spikes of every layer [T, *shape], seconds) of one sample x [T, *shape]; raises VendorFailure where Lava fails."""
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "job", Path(name) / "log.txt"
        folder.mkdir()
        save(graph, folder / "graph.npz")
        np.save(folder / "x.npy", x)
        (folder / "job.json").write_text(json.dumps({"n_steps": len(x), "repeats": repeats}))
        for script in (PACKAGE / "export" / "run_on_loihi2.py", Path(__file__).parent / "lava_side.py"):
            shutil.copyfile(script, folder / script.name)
        count = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        done = run_process(
            (python, "-I", folder / "lava_side.py", folder), folder=folder, log=log, timeout_s=900, max_bytes=None,
            environment=count,
        )
        if not done.ok or not (folder / "seconds.json").is_file():
            raise VendorFailure(f"Lava {done.describe()}", where=str(python), limit=tail(log))
        with np.load(folder / "spikes.npz") as file:
            spikes = {node.name: file[str(i)] for i, node in enumerate(graph.neurons)}
        return spikes, json.loads((folder / "seconds.json").read_text())


def best(call: Callable[[], Any], repeats: int) -> float:
    """The shortest of several times, after one call that warms up."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def shares(call: Callable[[], Any]) -> Seconds:
    """Where the time of a call goes: seconds inside synapses, neurons, recording, and elsewhere."""
    spent: Seconds = {"synapses": 0.0, "neurons": 0.0, "recording": 0.0}
    places = ((Synapse, "apply", "synapses"), (CubaLayer, "play", "neurons"), (Recorder, "put", "recording"))
    before = [getattr(owner, name) for owner, name, _ in places]

    def timed(function: Callable[..., Any], label: str) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[label] += time.perf_counter() - began

        return run

    for (owner, name, label), function in zip(places, before, strict=True):
        setattr(owner, name, timed(function, label))
    try:
        began = time.perf_counter()
        call()
        whole = time.perf_counter() - began
    finally:
        for (owner, name, _), function in zip(places, before, strict=True):
            setattr(owner, name, function)
    return {**spent, "the rest": whole - sum(spent.values())}


def machine(threads: int) -> tuple[float, float]:
    """(float32 multiply-adds, copied bytes read and written) a second, of a large matrix product and a large copy."""
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    big, other = torch.zeros(2**26), torch.zeros(2**26)
    return 2048**3 / best(lambda: a @ b, 5), 2 * 4 * 2**26 / best(lambda: other.copy_(big), 5)


def least_work(graph: IntGraph, trace: Trace) -> tuple[float, float]:
    """(multiply-adds, bytes) that a layer-by-layer simulation of a trace needs, see above."""
    n_mac = 0
    for node in graph.nodes:
        if isinstance(node, Conv2d | Linear):
            source = next(s for s, _ in graph.sources(node.name))
            while not source.is_neuron:
                source = next(s for s, _ in graph.sources(source.name))
            raster = trace.spikes[source.name][: trace.n_steps - 1]
            n_heard = int(raster.reshape(*raster.shape[:2], -1).any(axis=2).sum())
            n_mac += n_heard * int(np.prod(graph.shapes[node.name])) * node.fan_in
    n_neurons = sum(int(np.prod(graph.shapes[n.name])) for n in graph.neurons)
    return float(n_mac), 10.0 * n_neurons * trace.n_steps * trace.batch


def trace_bytes(trace: Trace) -> float:
    """Bytes of a trace per sample."""
    tables = (trace.spikes, trace.updated, {"votes": trace.votes})
    return sum(int(a.nbytes) for table in tables for a in table.values()) / trace.batch


def ours(graph: IntGraph, x: np.ndarray, record: clocked.Record, repeats: int, rates: tuple[float, float]) -> dict[str, Any]:
    """Times and what they are made of, for one batch."""
    def call() -> Trace:
        return clocked.simulate(graph, x, len(x), record=record)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trace = call()
    grown = max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    held = trace_bytes(trace)
    del trace
    seconds = best(call, repeats)
    n_mac, n_bytes = least_work(graph, clocked.simulate(graph, x, len(x), record="spikes"))
    floor = n_mac / rates[0] + n_bytes / rates[1]
    parts = shares(call)
    return {
        "batch": x.shape[1], "record": record, "seconds": seconds, "seconds_per_sample": seconds / x.shape[1],
        "trace_bytes_per_sample": held, "peak_growth_bytes": grown, "floor_seconds": floor, "share_of_floor": floor / seconds,
        "multiply_adds_per_sample": n_mac / x.shape[1], "spent": {k: v / sum(parts.values()) for k, v in parts.items()},
    }


def print_table(rows: list[dict[str, Any]], lava_s: float, lava_threads: int, start_up: float) -> None:
    """One line a way of running, and what the issue asks for."""
    print(f"{'':20} {'s':>8} {'ms/sample':>10} {'ratio':>7} {'MB/sample':>10} {'floor':>6}  spent in")
    name = f"Lava, {lava_threads} thread(s)"
    print(f"{name:20} {lava_s:8.3f} {1e3 * lava_s:10.1f} {1:7.1f}   ({start_up:.1f} s more to start)")
    for row in rows:
        row["ratio"] = lava_s / row["seconds_per_sample"]
        spent = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["spent"].items())
        print(
            f"batch {row['batch']:3}, {row['record']:9} {row['seconds']:8.3f} {1e3 * row['seconds_per_sample']:10.2f} "
            f"{row['ratio']:7.1f} {row['trace_bytes_per_sample'] / 1e6:10.1f} {100 * row['share_of_floor']:5.0f} %  {spent}"
        )
    one, many = (next(r for r in rows if r["batch"] == n and r["record"] == "spikes") for n in (1, rows[-1]["batch"]))
    print(f"spikes of all layers: one sample {one['ratio']:.0f} times Lava's speed (wanted: 20), "
          f"batch {many['batch']} {many['ratio']:.0f} times (wanted: 100)")
    limit = max(many["spent"], key=lambda name: float(many["spent"][name]))
    print(f"memory: {many['trace_bytes_per_sample'] / 1e6:.1f} MB of trace a sample, {working_bytes() / 1e6:.0f} MB besides, "
          f"whatever the batch; the process grew by {many['peak_growth_bytes'] / 1e6:.0f} MB")
    print(f"the batch is limited by {limit}; its floor is {1e3 * many['floor_seconds'] / many['batch']:.2f} ms/sample for "
          f"{many['multiply_adds_per_sample'] / 1e6:.0f} M multiply-adds")


def working_bytes() -> float:
    """The bound on working memory that `sim.clocked` states."""
    return 16.0 * clocked._WORKING_SET


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="a Python 3.10 with lava-nc 0.10.0; default: the side environment")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    args = parser.parse_args()
    try:
        python = args.python if args.python is not None else find("loihi2").python
        if not python.is_file():
            raise EnvironmentMissing(f"{python}: no such interpreter", remedy="Name a Python 3.10 with lava-nc 0.10.0")
    except EnvironmentMissing as error:
        print(f"no Lava: {error}", file=sys.stderr)
        return error.exit_code
    torch.set_num_threads(args.threads)
    x = image_batch(pilotnet(args.steps), args.batch, args.steps)
    graph = with_rates(pilotnet(args.steps), x[:, :1])
    n_neurons = sum(int(np.prod(graph.shapes[n.name])) for n in graph.neurons)

    trace = clocked.simulate(graph, x[:, :1], args.steps)
    runs = {n: lava(python, graph, x[:, 0], n, args.repeats) for n in sorted({1, args.threads})}
    rates = {n.name: float(trace.spikes[n.name][graph.latencies[n.name] :].mean()) for n in graph.neurons}
    print(f"{n_neurons:,} neurons, {args.steps} timesteps, {args.threads} threads")
    print("firing in % of the time: " + ", ".join(f"{name} {100 * rate:.1f}" for name, rate in rates.items()))
    wrong = {
        name for spikes, _ in runs.values() for name, raster in spikes.items()
        if not np.array_equal(raster, trace.spikes[name][:, 0])
    }
    silent = {n.name for n in graph.neurons if graph.latencies[n.name] < args.steps - 1 and not trace.n_spikes[n.name]}
    if wrong or silent:
        print(f"DIFFERENT: {', '.join(sorted(wrong)) or 'none'}; silent: {', '.join(sorted(silent)) or 'none'}")
        return 1
    print(f"equal: {sum(trace.n_spikes[n.name] for n in graph.neurons):,} spikes of {len(rates)} layers, one sample")
    speed = machine(args.threads)
    print(f"this machine: {speed[0] / 1e9:.0f} G float32 multiply-adds/s, {speed[1] / 1e9:.0f} GB/s copied")
    rows = [
        ours(graph, x[:, :n], record, args.repeats, speed)
        for n in (1, args.batch) for record in reversed(get_args(clocked.Record))  # the largest last: peaks only grow
    ]
    lava_s, lava_threads = min((min(seconds["steps"]), n) for n, (_, seconds) in runs.items())
    print_table(rows, lava_s, lava_threads, runs[lava_threads][1]["start_up"])
    if args.out is not None:
        theirs = {"threads": lava_threads, **runs[lava_threads][1]}
        args.out.write_text(json.dumps({"lava": theirs, "ours": rows, "machine": speed, "rates": rates}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
