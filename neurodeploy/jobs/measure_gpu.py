"""`neurodeploy targets measure`: the constants of this machine's GPU, as a profile that extends the nearest packaged one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.gpu_work import work_of
from neurodeploy.errors import UsageError
from neurodeploy.hw.gpu_profile import VALUE_BYTES, GpuProfile, Precision
from neurodeploy.hw.nvml import Nvml
from neurodeploy.hw.profile import any_target, gpu_named, read
from neurodeploy.hw.quantity import Quantity
from neurodeploy.ir.archive import write
from neurodeploy.ir.graph import Graph
from neurodeploy.jobs.gpu_loads import GpuLoads, cuda, uuid_of, whole_floats
from neurodeploy.jobs.gpu_meter import Clock, Load, Meter, Spread, Window, windows
from neurodeploy.jobs.gpu_opened import lowered_for_gpu
from neurodeploy.jobs.opened import open_with
from neurodeploy.progress import SILENT, Progress
from neurodeploy.sim.files import check_writable

WINDOWS = 5
_TASK = "measure"


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network on this GPU, unrolled, beside what the model says of it with the packaged and with the measured constants.

    Times are those of a batch, energies those of a sample.
    """

    batch: int
    latency_s: Spread
    energy_j: Spread
    packaged: dict[str, dict[str, float]]
    measured: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {
            "batch": self.batch, "latency_s": self.latency_s.to_dict(), "energy_j": self.energy_j.to_dict(),
            "packaged": self.packaged, "measured": self.measured,
        }


@dataclass(frozen=True)
class MeasureResult:
    """What was found, as entries of a profile; `profile` is the file that was written, None where none was asked for."""

    device: str
    driver: str
    base: str
    entries: dict[str, Quantity]
    not_measured: tuple[str, ...]
    networks: tuple[MeasuredNetwork, ...]
    settings: tuple[str, ...]
    profile: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain fields, for JSON."""
        return {
            "device": self.device, "driver": self.driver, "base": self.base, "profile": self.profile,
            "entries": {name: q.model_dump() for name, q in self.entries.items()}, "not_measured": list(self.not_measured),
            "networks": [network.to_dict() for network in self.networks], "settings": list(self.settings),
        }


def measure_gpu(
    model: Path | None = None, *, target: str | None = None, out: Path | None = None, batch: int = 64, seconds: float = 1.0,
    overrides: dict[str, Any] | None = None, progress: Progress = SILENT,
) -> MeasureResult:
    """Measure this machine's GPU, and a network on it at batch 1 and `batch` where one is given.

    target: the profile to extend, the one that names this GPU unless given. Raises EnvironmentMissing without a GPU that
    torch can use or a driver that tells its power, UsageError for an `out` that exists and a GPU that no profile names.
    """
    if out is not None:
        check_out(out)
    device = cuda()
    meter = Nvml(uuid_of(device))
    base = base_for(meter.name, target)
    graph = None if model is None else lowered_for_gpu(open_with(model, None, overrides or {})[0])
    return measure(meter, GpuLoads(device), base, graph=graph, out=out, batch=batch, seconds=seconds, progress=progress)


def base_for(device: str, target: str | None) -> GpuProfile:
    """The profile to extend. Raises UsageError where none names the device, and for one that is no GPU's."""
    name = target or gpu_named(device)
    if name is None:
        raise UsageError(f"no packaged profile names {device}", where="--target", code="unknown_gpu",
                         remedy="Name the nearest one with --target, and correct its peaks and sizes by hand")
    profile = any_target(name)
    if not isinstance(profile, GpuProfile):
        raise UsageError(f"{profile.name} is no GPU", where="--target", code="other_arithmetic")
    return profile


def measure(
    meter: Meter, loads: GpuLoads, base: GpuProfile, *, graph: Graph | None = None, out: Path | None = None, batch: int = 64,
    seconds: float = 1.0, n_windows: int = WINDOWS, clock: Clock | None = None, progress: Progress = SILENT,
) -> MeasureResult:
    """`measure_gpu` with any meter and device; windows of `seconds`, whose spread is the band of each entry."""
    if not 0 < seconds < 600 or batch < 1:
        raise UsageError(f"windows of {seconds} s, batch {batch}", where="targets measure", limit="Above 0, and below 600 s")
    run = _Run(meter, seconds, n_windows, clock or Clock())
    sizes = () if graph is None else tuple(dict.fromkeys((1, batch)))
    progress.start(_TASK, 3 + len(base.arithmetic.precisions) + len(sizes))
    found, missing = _constants(run, loads, base, progress)
    entries = {name: _quantity(base, name, *what, run) for name, what in found.items()}
    measured = _measured(base, entries, base.name if out is None else out.stem, meter.name)
    networks = []
    for size in sizes:
        assert graph is not None  # else there are no sizes
        networks.append(_network(graph, size, run, loads, base, measured))
        progress.advance(_TASK, measured=f"batch {size}")
    progress.done(_TASK)
    if out is not None:
        write(out, profile_text(base, entries, out.stem, meter.name).encode())
        read(out)
    return MeasureResult(
        meter.name, meter.driver, base.name, entries, (*missing, "gap, tile and values_per_op", "peaks and sizes"),
        tuple(networks), _settings(base, entries), out,
    )


@dataclass(frozen=True)
class _Run:
    """Windows of one length on one meter."""

    meter: Meter
    seconds: float
    n: int
    clock: Clock

    def __call__(self, load: Load | None) -> list[Window]:
        return windows(self.meter, load, self.seconds, self.n, self.clock)


_Found = dict[str, tuple[Spread, str]]  # entry of the profile -> (what was measured, on which work)


def _constants(run: _Run, loads: GpuLoads, base: GpuProfile, progress: Progress) -> tuple[_Found, list[str]]:
    """Every entry that can be measured, and what could not be."""
    idle = Spread.of([w.watt for w in run(None)])
    found: _Found = {"power.idle": (idle, "at rest with a process on the GPU")}
    progress.advance(_TASK, measured="idle power")
    waiting = run(loads.tiny())
    found["time.launch"] = Spread.of([w.seconds / w.n_calls for w in waiting]), "kernels of one value in a row"
    found["power.launch"] = Spread.of([_joule(w, idle, run.meter) / w.seconds for w in waiting]), "the same, above idle"
    progress.advance(_TASK, measured="launches")
    stream = loads.stream(base.capacity.cache.si[1])
    streamed = run(stream)
    found["rates.bandwidth"] = Spread.of([w.n_calls * stream.amount / w.seconds for w in streamed]), "copies"
    byte = Spread.of([_joule(w, idle, run.meter) / (w.n_calls * stream.amount) for w in streamed])
    found["energy.byte"] = byte, "copies, above idle"
    progress.advance(_TASK, measured="memory")
    missing = []
    for precision in base.arithmetic.precisions:
        load = loads.arithmetic(precision)
        if load is None:
            missing.append(f"{precision}: torch has no kernel for it on this device")
        else:
            found.update(_arithmetic(run, load, base, precision, idle, byte))
        progress.advance(_TASK, measured=precision)
    return found, missing


def _arithmetic(run: _Run, load: Load, base: GpuProfile, precision: Precision, idle: Spread, byte: Spread) -> _Found:
    """eta, and energy per operation: net of the load's own bytes, with those of `values_per_op` that the entry contains."""
    with whole_floats():
        busy = run(load)
    what = "matrix products" if precision == "int8" else "convolutions of 256 channels, 3 x 3"
    peak = base.rates[precision].si[1]
    eta = Spread.of([w.n_calls * load.amount / w.seconds / peak for w in busy])
    if eta.value > 1:
        raise UsageError(
            f"{eta.value * peak / 1e12:.4g} Top/s in {precision}", where=run.meter.name, code="unknown_gpu",
            limit=f"The peak of {base.name} is {peak / 1e12:.4g}", remedy="Name the profile of this GPU with --target",
        )
    contained = VALUE_BYTES[precision] * base.factors["values_per_op"].si[1]
    net = [(_joule(w, idle, run.meter) / w.n_calls - byte.value * load.n_bytes) / load.amount for w in busy]
    op = Spread.of([max(0.0, e) + contained * byte.value for e in net])
    return {
        f"factors.eta_{precision}": (eta, what),
        f"energy.op_{precision}": (op, f"{what}, above idle; with {contained:.3g} bytes of energy.byte"),
    }


def _joule(window: Window, idle: Spread, meter: Meter) -> float:
    """Energy above idle; UsageError where there is none, which is another program's doing."""
    joule = window.joule - idle.value * window.seconds
    if joule <= 0:
        raise UsageError(f"{window.watt:.4g} W under load, {idle.value:.4g} W at rest", where=meter.name, code="no_rise",
                         remedy="End the other programs on this GPU, or measure longer windows: --seconds 5")
    return joule


def _network(
    graph: Graph, batch: int, run: _Run, loads: GpuLoads, base: GpuProfile, measured: GpuProfile
) -> MeasuredNetwork:
    with whole_floats():
        found = run(loads.network(graph, batch))
    work = work_of(graph)
    said = []
    for profile in (base, measured):
        cost = gpu_cost(work, profile, graph.n_timesteps, batch=batch, precision="fp32")
        said.append({"latency_s": cost.latency_s.to_dict(), "energy_j": cost.energy_j.to_dict()})
    return MeasuredNetwork(
        batch, Spread.of([w.seconds / w.n_calls for w in found]), Spread.of([w.joule / w.n_calls / batch for w in found]), *said
    )


def _quantity(base: GpuProfile, name: str, spread: Spread, what: str, run: _Run) -> Quantity:
    """A measured entry in the unit that the base profile has for it."""
    table, entry = name.split(".")
    known: Quantity | None = getattr(base, table).get(entry)
    unit = known.unit if known is not None else {"energy": "pJ", "power": "W"}[table]
    factor = Quantity(value=1, unit=unit, status="measured", source="a unit").si[1]
    source = (
        f"{run.meter.name}, driver {run.meter.driver}, {datetime.now(UTC).date().isoformat()}, neurodeploy targets measure: "
        f"{what}; median of {run.n} windows of {run.seconds:g} s, band: their spread"
    )
    value, low, high = (_rounded(x / factor) for x in (spread.value, spread.low, spread.high))
    return Quantity(value=value, low=low, high=high, unit=unit, status="measured", source=source)


def _rounded(x: float) -> float:
    return float(f"{x:.6g}")


def _measured(base: GpuProfile, entries: Mapping[str, Quantity], name: str, device: str) -> GpuProfile:
    """The profile that the text of `profile_text` gives."""
    tables = {
        table: {**getattr(base, table), **{n.split(".")[1]: q for n, q in entries.items() if n.split(".")[0] == table}}
        for table in ("rates", "energy", "time", "power", "factors")
    }
    return base.model_copy(update={"name": name, "boundary": "board", "device_names": (device,), "aliases": (), **tables})


def profile_text(base: GpuProfile, entries: Mapping[str, Quantity], name: str, device: str) -> str:
    """TOML that extends `base` and holds the measured entries."""
    said = f"Measured on one {device}; peaks and sizes are those of {base.name}."
    lines = [
        f"# {said}", f"extends = {_text(base.name)}", f"name = {_text(name)}", f"title = {_text(f'{device}, measured')}",
        "aliases = []", f"disclaimer = {_text(said)}", 'boundary = "board"', f"device_names = [{_text(device)}]",
    ]
    for table in dict.fromkeys(entry.split(".")[0] for entry in entries):
        lines += ["", f"[{table}]"]
        for entry, q in entries.items():
            if entry.split(".")[0] == table:
                numbers = ", ".join(f"{key} = {getattr(q, key)!r}" for key in ("value", "low", "high"))
                texts = f'unit = "{q.unit}", status = "{q.status}", source = {_text(q.source)}'
                lines.append(f"{entry.split('.')[1]} = {{ {numbers}, {texts} }}")
    return "\n".join(lines) + "\n"


def _settings(base: GpuProfile, entries: Mapping[str, Quantity]) -> tuple[str, ...]:
    """The same as `--set` of a command; entries and keys must be there already to be set."""
    found = []
    for name, q in entries.items():
        table, entry = name.split(".")
        known: Quantity | None = getattr(base, table).get(entry)
        if known is not None:
            keys = [key for key in ("value", "low", "high") if getattr(known, key) is not None]
            found += [f"profile.{name}.{key}={getattr(q, key):g}" for key in keys]
    return tuple(found)


def check_out(out: Path) -> None:
    """Raise UsageError for a file that cannot become a profile."""
    if out.suffix != ".toml" or out.stem.startswith("_"):
        raise UsageError("no name for the profile", where=str(out), limit="NAME.toml")
    if out.exists():
        raise UsageError("the file is there already", where=str(out), code="path", remedy="Name another with --out")
    check_writable(out)


def _text(text: str) -> str:
    """A TOML string; what cannot be printed becomes a question mark."""
    return json.dumps("".join(c if c.isprintable() else "?" for c in text), ensure_ascii=False)
