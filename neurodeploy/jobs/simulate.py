"""`neurodeploy simulate`: a network on spikes that the user gives, and what every layer did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.cost.windows import steps_until_settled
from neurodeploy.data.event_input import holds_events
from neurodeploy.data.spikes import Layout, SpikeInput, axes_back, read_input
from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.fixedpoint import DECAY_BITS
from neurodeploy.hw.profile import EventProfile, GpuProfile, chip_of
from neurodeploy.hw.profile import any_target as profile_of
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import CubaLif, Input
from neurodeploy.jobs.event_opened import deployed_on_cores, events_for, lowered_to_cores
from neurodeploy.jobs.event_simulate import EventSimulateResult, simulate_events
from neurodeploy.jobs.given_exit import steps_of_images
from neurodeploy.jobs.gpu_opened import lowered_for_gpu
from neurodeploy.jobs.gpu_simulate import GpuSimulateResult, simulate_on_gpu
from neurodeploy.jobs.net_options import NetOptions
from neurodeploy.jobs.opened import Opened, open_with
from neurodeploy.jobs.search import split_overrides
from neurodeploy.pipeline import Readout
from neurodeploy.place import check
from neurodeploy.place.event_cores import check as check_cores
from neurodeploy.progress import SILENT, Progress
from neurodeploy.search.recipe import DeploySettings
from neurodeploy.sim import clocked, reference
from neurodeploy.sim.events_trace import Order
from neurodeploy.sim.files import check_writable, smallest, write_arrays
from neurodeploy.sim.trace import Trace
from neurodeploy.validate.gpu_bundle import GpuBundle

MAX_RECORDED = 2**32  # bytes of one recording, counted before small values are stored small
_BATCH_BYTES = 2**28  # of the rasters that are held at full width at a time


@dataclass(frozen=True)
class SimulateResult:
    """What was run and what fired. `n_timesteps` counts the chip timesteps that were simulated, `n_input_timesteps` those of
    the input, None where a bias was written once; `exit_steps`: timesteps that the bundle's policy of SEENN-II, where it has
    one, lets each sample run (all are recorded); `errors` says where the network does not fit the target that was asked
    for, which the recording does not depend on."""

    out: Path
    target: str | None
    fits: bool | None
    n_timesteps: int
    n_input_timesteps: int | None
    n_samples: int
    input: str
    layout: Layout
    spikes_per_layer: dict[str, int]
    neurons_per_layer: dict[str, int]
    simulator: str
    arrays: dict[str, list[int]]
    errors: tuple[NeurodeployError, ...]
    exit_steps: list[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {**{k: v for k, v in vars(self).items() if k != "errors"}, "out": str(self.out)}


def simulate(
    model: Path, given: Path, out: Path, *, target: str | None = None, states: bool = False, use_reference: bool = False,
    n_timesteps: int | None = None, v_readout: Readout = "lava", layout: Layout = "torch", net: NetOptions | None = None,
    data: str | None = None, order: Order | None = None, overrides: dict[str, Any] | None = None,
    progress: Progress = SILENT,
) -> SimulateResult | EventSimulateResult | GpuSimulateResult:
    """Run a bundle, `.net`, `.nir`, `graph.npz` or model on the spikes in `given` (`data.spikes.read_input`) and write
    `spikes/<layer>`, with `states` also `v_mem/<layer>` and `i_syn/<layer>`, to `out`, in the axis order of the input.

    All samples start from zero state. `n_timesteps` chip timesteps are run; default: those of the input (of the network,
    where a bias is written once) and then until the output has seen the last of it, on the slowest path. After its last
    timestep an input is zero, or where it is a bias keeps its value. A network in real numbers is quantized for `target`
    on its dataset first. Raises UsageError, UnsafeFile; DoesNotFit is among the result's errors, not raised.

    On a GPU the network itself is run in float32: `gpu_simulate.simulate_on_gpu`, for which n_timesteps is the length of a
    sample. A file of events (`data.event_input.holds_events`) is run event by event, in `order`:
    `event_simulate.simulate_events`.
    """
    check_writable(out)
    if out.exists() and given.exists() and out.samefile(given):
        raise UsageError("the recording would replace its own input", where=str(out), remedy="Name another file with --out")
    opened, changes = open_with(model, net, overrides)
    on = None if target is None else profile_of(target, split_overrides(changes)[1])
    if on is None and isinstance(opened.bundle, GpuBundle):
        on = opened.bundle.profile
    if isinstance(on, GpuProfile):
        _refuse_on_gpu(on.name, {
            "--v-readout": v_readout != "lava", "--order": order is not None,
            "--states with --reference": states and use_reference,
        })
        return simulate_on_gpu(
            opened, lowered_for_gpu(opened, n_timesteps), given, out, target=on.name, layout=layout, states=states,
            use_reference=use_reference, progress=progress,
        )
    graph, errors = _network(opened, target, data, changes, progress)
    if holds_events(given):
        _refuse_clocked({
            "--states": states, "--timesteps": n_timesteps is not None, "--layout": layout != "torch",
            "--v-readout": v_readout != "lava",
        })
        return simulate_events(
            opened, graph, given, out, target=target, order=order or "depth", use_reference=use_reference, errors=errors,
            progress=progress,
        )
    if order is not None:
        raise UsageError("an order of events, and the input is no stream of events", where="--order",
                         remedy="Leave it out, or give events: `neurodeploy events SOURCE --out in.npz`")
    read = read_input(given, graph, layout)
    whole = replace(graph, n_timesteps=read.n_timesteps(graph))
    n_steps = steps_until_settled(whole) if n_timesteps is None else n_timesteps
    arrays, counted = _run(graph, read, n_steps, states, use_reference, v_readout, progress)
    write_arrays(out, {name: axes_back(values, read) for name, values in arrays.items()})
    return SimulateResult(
        out=out, target=target, fits=None if target is None else not errors, n_timesteps=n_steps,
        n_input_timesteps=read.x.shape[0] if read.timed else None,
        n_samples=read.x.shape[1], input=graph.inputs[0].name, layout=layout, spikes_per_layer=counted,
        neurons_per_layer={n.name: int(np.prod(graph.shapes[n.name])) for n in graph.neurons},
        simulator="reference" if use_reference else "fast",
        arrays={name: list(axes_back(values, read).shape) for name, values in arrays.items()}, errors=errors,
        exit_steps=steps_of_images(opened, graph, read.x),
    )


def _network(
    opened: Opened, target: str | None, data: str | None, overrides: dict[str, Any], progress: Progress
) -> tuple[IntGraph, tuple[NeurodeployError, ...]]:
    """The integer network, and what is wrong with it on the target."""
    graph = opened.graph
    if target is None:
        if not isinstance(graph, IntGraph):
            raise UsageError(
                "holds a network in real numbers", where=str(opened.path), code="not_quantized",
                limit="What a chip computes depends on how it is quantized for it",
                remedy="Name the chip with --target, or export it first and give the bundle",
            )
        return graph, ()
    of_model, of_profile = split_overrides(overrides)
    profile, settings = chip_of(profile_of(target, of_profile)), opened.settings(of_model)
    if isinstance(profile, EventProfile):
        return _on_cores(opened, profile, settings, data, progress)
    if isinstance(graph, IntGraph):
        graph = opened.integer(profile)
        fit = check(graph, profile, settings.cost.n_chips)
        return graph, () if fit.fits else (DoesNotFit(fit.violations, target=profile.name),)
    dataset = opened.dataset(data)
    opened.check_runs_on_spikes(dataset)
    return opened.deployed(profile, settings, dataset, progress).net, ()


def _on_cores(
    opened: Opened, profile: EventProfile, settings: DeploySettings, data: str | None, progress: Progress
) -> tuple[IntGraph, tuple[NeurodeployError, ...]]:
    """As `_network`, for an event-driven chip."""
    lowered = lowered_to_cores(opened, profile)
    if isinstance(lowered, IntGraph):
        fit = check_cores(lowered, profile)
        return lowered, () if fit.fits else (DoesNotFit(fit.violations, target=profile.name),)
    recordings = events_for(opened, data)
    opened.check_runs_on_spikes(recordings)
    return deployed_on_cores(opened, profile, settings, recordings, progress)[0].net, ()


def _refuse_on_gpu(name: str, asked: dict[str, bool]) -> None:
    given = [option for option, was_asked in asked.items() if was_asked]
    if given:
        raise UsageError(f"{' and '.join(given)} on {name}", where=given[0], limit="Real numbers on a GPU have no such choice",
                         remedy="Leave it out")


def _refuse_clocked(asked: dict[str, bool]) -> None:
    """Raise UsageError where an option was given that means nothing for streams of events."""
    given = [name for name, was_asked in asked.items() if was_asked]
    if given:
        raise UsageError(f"{' and '.join(given)} with events", where=given[0], limit="Events have no timesteps",
                         remedy="Leave it out, or give an array over timesteps")


def _run(
    graph: IntGraph, given: SpikeInput, n_steps: int, states: bool, use_reference: bool, v_readout: Readout, progress: Progress
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """({spikes/<layer>, ...: [T', B, *shape]}, spikes of each layer), some samples at a time."""
    n_neurons = sum(int(np.prod(graph.shapes[n.name])) for n in graph.neurons)
    n_samples = given.x.shape[1]
    per_sample = n_steps * n_neurons * (5 + 16 * states)  # int32 spikes and a flag; two int64 states
    if per_sample * n_samples > MAX_RECORDED:
        raise UsageError(
            f"the recording would take {per_sample * n_samples / 2**30:.3g} GiB: {n_neurons} neurons, {n_steps} timesteps, "
            f"{n_samples} samples", where="--out", limit=f"At most {MAX_RECORDED / 2**30:g} GiB",
            remedy="Run fewer samples or timesteps at a time" + (", or leave --states out" if states else ""),
        )
    size = max(1, int(_BATCH_BYTES // per_sample))
    parts: dict[str, list[NDArray[Any]]] = {}
    counted = dict.fromkeys((n.name for n in graph.neurons), 0)
    run: Callable[..., Trace] = reference.simulate if use_reference else partial(clocked.simulate, record="spikes")
    progress.start("simulation", n_samples)
    for first in range(0, n_samples, size):
        trace = run(graph, given.x[:, first : first + size], n_steps, record_state=states, v_readout=v_readout)
        for name, raster in _arrays(trace).items():
            parts.setdefault(name, []).append(smallest(raster))
        for name in counted:
            counted[name] += trace.n_spikes[name]
        progress.advance("simulation", trace.batch)
    progress.done("simulation")
    return {name: np.concatenate(found, axis=1) for name, found in parts.items()}, counted


def _arrays(trace: Trace) -> dict[str, NDArray[Any]]:
    layers = [n.name for n in trace.graph.neurons]
    currents = {name: values - _written(trace, name) for name, values in (trace.i_syn or {}).items()}
    tables: dict[str, Any] = {"spikes": trace.spikes, "v_mem": trace.v_mem or {}, "i_syn": currents}
    return {f"{kind}/{name}": table[name] for kind, table in tables.items() for name in layers if name in table}


def _written(trace: Trace, name: str) -> NDArray[np.int64] | int:
    """What biases that the host writes add to a layer's current: in the chip they are no current, and i_syn is without
    them. The IR lets them in as one, which is the same for a current without memory."""
    node = trace.graph[name]
    if not isinstance(node, CubaLif) or not np.all(node.i_decay == 2**DECAY_BITS):
        return 0
    sources = [s.name for s, _ in trace.graph.sources(name) if isinstance(s, Input) and s.kind == "bias"]
    return sum((trace.spikes[s].astype(np.int64) << node.state_shift for s in sources), 0)
