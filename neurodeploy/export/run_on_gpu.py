"""Play the golden inputs of this bundle with onnxruntime, compare the spikes of every layer, and leave early.

    python run_on_h200.py                        the best device that the installed onnxruntime knows, all three forms
    python run_on_h200.py --provider cpu         this CPU
    python run_on_h200.py --measure --batch 64   times, and energy where NVML is there, of batch 1 and 64
    python run_on_h200.py --threshold 0.9        leave early by another threshold than the bundle's

Needs Python 3.10 or newer with numpy and onnxruntime 1.18 or newer (`onnxruntime-gpu` for an NVIDIA GPU), for power
`nvidia-ml-py`; nothing of neurodeploy. Writes `lab.json`: versions, device, spike counts, differences, exits, times, power.
Exit codes: 0 equal, 2 wrong use, 4 spikes differ, 5 a package or device is missing, 6 a file was changed.

model_step.onnx takes x [B, ...] and the states of all layers, and gives votes, spikes and the next states: a program that runs
it decides after each timestep whether there is another. model_unrolled.onnx and model_scan.onnx take x [T, B, ...] at once.
A spike may differ where golden.npz says that its membrane meets the threshold (`near`), at the first difference of a sample:
libraries add products in different orders. TF32 is off here, because it rounds to 10 bits; --tf32 measures what it would save.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import threading
import time
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

OK, USAGE, DIFFERS, MISSING, CHANGED = 0, 2, 4, 5, 6
GOLDEN, FORMS = "golden.npz", ("step", "unrolled", "scan")
PROVIDERS = {"cuda": "CUDAExecutionProvider", "rocm": "ROCMExecutionProvider", "cpu": "CPUExecutionProvider"}
ON_DEVICE = {"CUDAExecutionProvider": "cuda", "ROCMExecutionProvider": "cuda"}  # where tensors stay between timesteps
_MADE = ("n_calls", "n_calls_full", "n_rows", "n_rows_full")
LOGIT_TOLERANCE = 1e-5  # of sums of votes that came from equal spikes, relative where they exceed 1


class RunnerError(Exception):
    """A refusal with the exit code it has."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def fail(code: int, message: str) -> NoReturn:
    raise RunnerError(code, message)


def note(message: str) -> None:
    sys.stderr.write(message + "\n")


# ---------------------------------------------------------------- files


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after the sha256 of every file that it names was checked."""
    path = folder / "manifest.json"
    if not path.is_file():
        fail(USAGE, f"{path}: no such file; run this script from its bundle, or name the bundle with --bundle")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file():
            fail(CHANGED, f"{folder / name}: the file is missing")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            fail(CHANGED, f"{folder / name}: the file was changed after the export")
    return dict(manifest)


class Golden:
    """x [T', B, ...], votes [T, B, n], spikes and places near the threshold by layer; the first `n` samples."""

    def __init__(self, path: Path, n: int) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != "graph.json"}
        self.x = np.ascontiguousarray(arrays["x"][:, : n or None])
        self.votes = arrays["votes"][:, : n or None]
        self.spikes = {k[len("spikes/"):]: v[:, : n or None] for k, v in arrays.items() if k.startswith("spikes/")}
        self.near = {k[len("near/"):]: {tuple(row) for row in v.tolist()} for k, v in arrays.items() if k.startswith("near/")}

    @property
    def n_samples(self) -> int:
        return int(self.x.shape[1])

    def repeated(self, batch: int) -> Any:
        """x of `batch` samples, the golden ones over and over."""
        return np.ascontiguousarray(self.x[:, np.arange(batch) % self.n_samples])


# ---------------------------------------------------------------- onnxruntime


class Runtime:
    """onnxruntime on one kind of device. `device` and `index` say where states stay between timesteps."""

    def __init__(self, wanted: str, index: int, tf32: bool) -> None:
        try:
            self.ort = import_module("onnxruntime")
        except ImportError as error:
            fail(MISSING, f"onnxruntime does not run here ({error}); pip install onnxruntime-gpu, or onnxruntime for the CPU")
        known = self.ort.get_available_providers()
        self.tf32, self.wanted = tf32, wanted
        best = next(p for p in PROVIDERS.values() if p in known)
        self.use(best if wanted == "best" else PROVIDERS.get(wanted, wanted), index)
        if self.provider not in known:
            fail(MISSING, f"this onnxruntime has no {self.provider} (it has {', '.join(known)}); pip install onnxruntime-gpu")

    def use(self, provider: str, index: int) -> None:
        self.provider = provider
        self.device, self.index = ON_DEVICE.get(provider, "cpu"), index if provider in ON_DEVICE else 0
        self.options: dict[str, str] = {"device_id": str(index)} if provider in ON_DEVICE else {}
        if provider == PROVIDERS["cuda"]:
            self.options["use_tf32"] = "1" if self.tf32 else "0"
            # The plain matrix product: other algorithms add in orders that move a membrane further, and the search for the
            # fastest starts anew for every batch that compaction makes.
            self.options["cudnn_conv_algo_search"] = "DEFAULT"

    def session(self, path: Path) -> Any:
        options = self.ort.SessionOptions()
        options.log_severity_level = 3
        session = self.ort.InferenceSession(str(path), options, providers=[(self.provider, self.options)])
        if self.provider in session.get_providers():
            return session
        what = f"{self.provider} does not start here: no device, or its libraries are missing"
        if self.wanted != "best":
            fail(MISSING, f"{what}; --provider cpu does")
        note(f"{what}; this runs on the CPU")
        self.wanted = "cpu"
        self.use(PROVIDERS["cpu"], 0)
        return self.session(path)

    def place(self, array: Any) -> Any:
        return self.ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, self.index)


class Steps:
    """The step form on `batch` samples: each call of `step` is one call of the session; states stay on the device."""

    def __init__(self, runtime: Runtime, session: Any, batch: int, *, record: bool = False) -> None:
        self.runtime, self.session = runtime, session
        specs = json.loads(session.get_modelmeta().custom_metadata_map["neurodeploy.states"])
        self.after = {spec["output"]: spec["input"] for spec in specs}
        self.states = {}
        for spec in specs:
            start = np.asarray(spec["initial"], spec["dtype"])
            self.states[spec["input"]] = runtime.place(np.zeros((batch, *spec["shape"]), spec["dtype"]) + start)
        self.recorded = [o.name for o in session.get_outputs() if o.name.startswith("spikes/")] if record else []
        self.spikes: dict[str, Any] = {}
        self.n_calls = self.n_rows = 0

    def step(self, x: Any) -> Any:
        """Votes [B, n] of x [B, ...]."""
        binding = self.session.io_binding()
        binding.bind_cpu_input("x", np.ascontiguousarray(x))
        for name, value in self.states.items():
            binding.bind_ortvalue_input(name, value)
        for name in ("votes", *self.recorded):
            binding.bind_output(name)
        for name in self.after:
            binding.bind_output(name, self.runtime.device, self.runtime.index)
        self.session.run_with_iobinding(binding)
        names = ["votes", *self.recorded, *self.after]
        found = dict(zip(names, binding.get_outputs(), strict=True))
        self.states = {state: found[name] for name, state in self.after.items()}
        self.spikes = {name[len("spikes/"):]: found[name].numpy() for name in self.recorded}
        self.n_calls += 1
        self.n_rows += len(x)
        return found["votes"].numpy().reshape(len(x), -1)

    def keep(self, rows: Any) -> None:
        """Go on with these samples only."""
        self.states = {name: self.runtime.place(value.numpy()[rows]) for name, value in self.states.items()}


def play(runtime: Runtime, form: str, session: Any, x: Any, latency: int) -> tuple[Any, dict[str, Any]]:
    """(votes [T, B, n], spikes [T', B, ...] by layer) of a form."""
    if form == "step":
        steps = Steps(runtime, session, x.shape[1], record=True)
        votes, each = [], []
        for x_t in x:
            votes.append(steps.step(x_t))
            each.append(steps.spikes)
        return np.stack(votes[latency:]), {name: np.stack([s[name] for s in each]) for name in each[0]}
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"x": x}), strict=True))
    spikes = {name[len("spikes/"):]: v for name, v in found.items() if name.startswith("spikes/")}
    return found["votes"][latency:].reshape(len(x) - latency, x.shape[1], -1), spikes


# ---------------------------------------------------------------- comparison


def compare(layers: list[str], golden: Golden, votes: Any, spikes: dict[str, Any]) -> dict[str, Any]:
    """Golden spikes against those of a form: what differs, flipped at the threshold, or is wrong."""
    differs = {}
    for layer in layers:
        if spikes[layer].shape != golden.spikes[layer].shape:
            fail(DIFFERS, f"{layer}: shape {spikes[layer].shape} instead of {golden.spikes[layer].shape}")
        differs[layer] = spikes[layer] != golden.spikes[layer]
    flips: list[dict[str, Any]] = []
    wrong: list[dict[str, Any]] = []
    agreed = np.ones(golden.n_samples, dtype=bool)
    for sample in range(golden.n_samples):
        times = {layer: np.flatnonzero(d[:, sample].reshape(len(d), -1).any(axis=1)) for layer, d in differs.items()}
        first = min((int(t[0]) for t in times.values() if len(t)), default=None)
        if first is None:
            continue
        agreed[sample] = False
        layer = next(name for name in layers if len(times[name]) and times[name][0] == first)
        for neuron in np.argwhere(differs[layer][first, sample]).tolist():
            at = (first, sample, *neuron)
            wanted, got = int(golden.spikes[layer][at]), int(spikes[layer][at])
            found = {"layer": layer, "timestep": first, "neuron": neuron, "sample": sample, "expected": wanted, "got": got}
            (flips if at in golden.near[layer] and abs(wanted - got) == 1 else wrong).append(found)
    sums = [v.astype(np.float64).cumsum(axis=0)[:, agreed] for v in (golden.votes, votes)]
    apart, allowed = np.abs(sums[0] - sums[1]), LOGIT_TOLERANCE * np.maximum(1, np.abs(sums[0]))
    return {
        "ok": not wrong and bool((apart <= allowed).all()), "n_differences": sum(int(d.sum()) for d in differs.values()),
        "n_compared": sum(d.size for d in differs.values()), "flips": flips,
        "largest_logit_difference": float(apart.max(initial=0)),
        "first_divergence": min(wrong, key=lambda w: int(w["timestep"]), default=None),
        "spikes": {name: int(v.sum()) for name, v in spikes.items()},
    }


# ---------------------------------------------------------------- early exit


class Policy:
    """Leave at the first timestep whose summed votes are confident enough (SEENN-I)."""

    said: dict[str, Any] | None = None

    def __init__(self, fields: dict[str, Any]) -> None:
        self.threshold, self.temperature = float(fields["threshold"]), float(fields["temperature"])
        self.metric, self.logits = fields["metric"], fields["logits"]

    def of(self, samples: Any) -> Policy:
        return self

    def done(self, z: Any, t: int, rows: Any) -> Any:
        """Whether each row of the summed votes z [B, n] after t timesteps may leave."""
        z = z / self.temperature / (t if self.logits == "mean" else 1)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        if self.metric == "confidence":
            return p.max(axis=1) > self.threshold
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        return np.clip(1 - entropy / np.log(z.shape[1]), 0, 1) > self.threshold


class Planned:
    """Run as long as the bundle's policy network says before the first timestep (SEENN-II); plain numpy, on the host."""

    threshold = None

    def __init__(self, folder: Path, entry: dict[str, Any], n: int) -> None:
        tensors = read_tensors(folder / entry["file"])
        logits = network_logits(tensors, tensors["golden.images"][:n], len(entry["channels"]))
        self.steps = np.asarray(entry["lengths"])[logits.argmax(axis=1)]
        two = np.sort(logits, axis=1)[:, -2:]
        tied = two[:, -1] - two[:, 0] < 1e-4 if logits.shape[1] > 1 else np.zeros(n, dtype=bool)  # sums in another order
        other = (self.steps != tensors["golden.steps"][:n]) & ~tied
        self.said: dict[str, Any] | None = {"steps": self.steps.tolist(), "n_other": int(other.sum())}

    def of(self, samples: Any) -> Planned:
        """The policy of these golden samples."""
        found = object.__new__(Planned)
        found.steps, found.said = self.steps[samples], self.said
        return found

    def done(self, z: Any, t: int, rows: Any) -> Any:
        return self.steps[rows] <= t


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a .safetensors file: a length, a header in JSON, and the data."""
    payload = path.read_bytes()
    start = 8 + int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8:start])
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {
        name: np.frombuffer(payload[start:][slice(*e["data_offsets"])], kinds[e["dtype"]]).reshape(e["shape"])
        for name, e in header.items() if name != "__metadata__"
    }


def network_logits(w: dict[str, Any], x: Any, n_layers: int) -> Any:
    """The policy network on x [B, C, H, W]: 3x3 convolutions of stride 2, batch norm, ReLU; mean over the map; one matrix."""
    x = (x - w["mean"]) / w["std"]
    for i in range(n_layers):
        height, width = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
        padded, taps = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), w[f"convs.{i}.weight"]
        x = sum(
            np.einsum("bchw,oc->bohw", padded[:, :, a : a + 2 * height - 1 : 2, b : b + 2 * width - 1 : 2], taps[:, :, a, b])
            for a in range(3) for b in range(3)
        )
        scale, shift, mean, variance = (
            w[f"norms.{i}.{k}"][:, None, None] for k in ("weight", "bias", "running_mean", "running_var"))
        x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)
    return x.mean(axis=(2, 3)) @ w["linear.weight"].T + w["linear.bias"]


def leave_early(steps: Steps, x: Any, policy: Policy | Planned | None, latency: int, *, compact: bool) -> tuple[Any, Any]:
    """(exit step, answer) of each sample; no session call is made once all have left. policy None: nobody leaves early.

    compact: drop the rows of those who have left; without it they are computed along until the last one leaves.
    """
    batch, last = x.shape[1], len(x) - latency
    rows = np.arange(batch)  # samples in the session's batch
    left = np.zeros(batch, dtype=bool)
    exits, answers = np.zeros(batch, dtype=int), np.zeros(batch, dtype=int)
    sums: Any = 0.0
    for s, x_t in enumerate(x):
        votes = steps.step(x_t[rows])
        t = s - latency + 1
        if t < 1:
            continue
        sums = sums + votes.astype(np.float64)
        z = np.round(sums, 6)  # what float32 resolves; equal counts reached in another order differ in their last bits
        done = np.full(len(rows), t == last) if policy is None or t == last else policy.done(z, t, rows)
        now = done & ~left[rows]
        exits[rows[now]], answers[rows[now]] = t, z[now].argmax(axis=1)
        left[rows[now]] = True
        if left.all():
            break
        if compact and now.any():
            steps.keep(~done)
            rows, sums = rows[~done], sums[~done]
    return exits, answers


def exits_of(runtime: Runtime, session: Any, golden: Golden, policy: Policy | Planned, latency: int) -> dict[str, Any]:
    """Early exit on the golden samples, one by one and as a batch with and without compaction; where steps are known
    beforehand, also in batches of equal steps."""
    expected = leave_by(golden.votes, policy)
    found: dict[str, Any] = {
        "threshold": policy.threshold, "expected_exit_steps": expected.tolist(), "policy": policy.said, "ways": {},
    }
    n_full, everyone = len(golden.x), np.arange(golden.n_samples)
    ways = {"one by one": [everyone[k : k + 1] for k in everyone], "batch": [everyone], "batch, compacted": [everyone]}
    if isinstance(policy, Planned):
        ways["equal steps together"] = [np.flatnonzero(expected == n) for n in np.unique(expected)]
    for way, groups in ways.items():
        runs = []
        for group in groups:
            steps = Steps(runtime, session, len(group))
            compact = way == "batch, compacted"
            runs.append((leave_early(steps, golden.x[:, group], policy.of(group), latency, compact=compact), steps))
        order = np.argsort(np.concatenate(groups))
        exits = np.concatenate([e for (e, _), _ in runs])[order]
        found["ways"][way] = {
            "exit_steps": exits.tolist(), "answers": np.concatenate([a for (_, a), _ in runs])[order].tolist(),
            "n_calls": sum(s.n_calls for _, s in runs), "n_calls_full": n_full * len(runs),
            "n_rows": sum(s.n_rows for _, s in runs), "n_rows_full": n_full * golden.n_samples,
            "n_other_exits": int((exits != expected).sum()),
        }
    return found


def leave_by(votes: Any, policy: Policy | Planned) -> Any:
    """Exit steps by the golden votes [T, B, n]."""
    rows = np.arange(votes.shape[1])
    sums = np.round(votes.astype(np.float64).cumsum(axis=0), 6)
    over = np.stack([policy.done(z, t + 1, rows) for t, z in enumerate(sums)])
    over[-1] = True
    return over.argmax(axis=0) + 1


# ---------------------------------------------------------------- time and power


class Power:
    """Energy of the GPU by NVML: its own counter where the board has one, else its power sampled every 10 ms."""

    def __init__(self, index: int) -> None:
        self.nvml = import_module("pynvml")
        self.nvml.nvmlInit()
        self.handle = self.nvml.nvmlDeviceGetHandleByIndex(index)
        name = self.nvml.nvmlDeviceGetName(self.handle)
        self.name = name.decode() if isinstance(name, bytes) else name
        self.counts = self._counter() is not None

    def _counter(self) -> float | None:
        try:
            return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) * 1e-3
        except self.nvml.NVMLError:
            return None

    def _watts(self) -> float:
        return float(self.nvml.nvmlDeviceGetPowerUsage(self.handle)) * 1e-3

    def of(self, work: Any) -> tuple[Any, float, float]:
        """(what `work()` gives, joules, seconds)."""
        samples: list[float] = []
        over = threading.Event()

        def sample() -> None:
            while not over.wait(0.01):
                samples.append(self._watts())

        thread = None if self.counts else threading.Thread(target=sample, daemon=True)
        before, started = self._counter(), time.perf_counter()
        if thread is not None:
            thread.start()
        try:
            result = work()
        finally:
            over.set()
        seconds = time.perf_counter() - started
        if thread is not None:
            thread.join()
            return result, float(np.mean(samples or [self._watts()])) * seconds, seconds
        after = self._counter()
        assert before is not None and after is not None  # `counts` says so
        return result, after - before, seconds


def open_power(index: int) -> Power | None:
    try:
        return Power(index)
    except Exception as error:  # NVML's own errors are types of a package that may be absent
        note(f"no power: {error}")
        return None


def timed(work: Any, seconds: float, power: Power | None) -> dict[str, Any]:
    """Run `work` for some seconds after a warm-up: times of one call and, where it can be read, its energy."""
    for _ in range(3):
        work()
    durations: list[float] = []

    def loop() -> None:
        end = time.perf_counter() + seconds
        while not durations or time.perf_counter() < end:
            started = time.perf_counter()
            work()
            durations.append(time.perf_counter() - started)

    joules = None
    if power is None:
        loop()
    else:
        _, joules, elapsed = power.of(loop)
    found: dict[str, Any] = {
        "n": len(durations), "median_s": float(np.median(durations)), "p95_s": float(np.percentile(durations, 95)),
        "energy_j": None if joules is None else joules / len(durations),
        "power_w": None if joules is None else joules / elapsed,
    }
    return found


def measure(
    runtime: Runtime, sessions: dict[str, Any], golden: Golden, policy: Policy | Planned | None, latency: int,
    batches: list[int], seconds: float, power: Power | None,
) -> list[dict[str, Any]]:
    """Time and energy of whole inferences, all T timesteps and early exit; energies of a batch, idle power included."""
    rows = []
    for batch in batches:
        x = golden.repeated(batch)
        rule = None if policy is None else policy.of(np.arange(batch) % golden.n_samples)
        works: dict[str, Any] = {}
        for form, session in sessions.items():
            if form == "step":
                works["step, all timesteps"] = lambda s=session, x=x: leave_early(
                    Steps(runtime, s, x.shape[1]), x, None, latency, compact=False)
                if policy is not None:
                    for compact in (False, True) if batch > 1 else (False,):
                        name = "step, early exit" + ", compacted" * compact
                        works[name] = lambda s=session, x=x, c=compact, r=rule: leave_early(
                            Steps(runtime, s, x.shape[1]), x, r, latency, compact=c)
            else:
                works[form] = lambda s=session, x=x: s.run(["votes"], {"x": x})
        for name, work in works.items():
            rows.append({"way": name, "batch": batch, **timed(work, seconds, power)})
            drawn = rows[-1]["energy_j"]
            energy = "" if drawn is None else ", {:.3g} J, {:.0f} W".format(drawn, rows[-1]["power_w"])
            note("{:32s} batch {:5d}: {:9.3f} ms{}".format(name, batch, 1e3 * rows[-1]["median_s"], energy))
    return rows


# ---------------------------------------------------------------- command


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("onnxruntime", "onnxruntime-gpu", "nvidia-ml-py"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def run(arguments: argparse.Namespace) -> int:
    manifest = read_manifest(arguments.bundle)
    golden = Golden(arguments.bundle / GOLDEN, arguments.samples)
    runtime = Runtime(arguments.provider, arguments.device, arguments.tf32)
    power = open_power(runtime.index) if runtime.device == "cuda" and arguments.measure else None
    idle = None if power is None else power.of(lambda: time.sleep(arguments.seconds))
    files, latency, layers = manifest["onnx"]["files"], int(manifest["latency"]), manifest["onnx"]["layers"]
    sessions = {form: runtime.session(arguments.bundle / files[form]) for form in arguments.form or FORMS}
    forms = {}
    for form, session in sessions.items():
        forms[form] = compare(layers, golden, *play(runtime, form, session, golden.x, latency))
        route = forms[form]
        sys.stdout.write("{}: {} of {} values equal, {} flipped at the threshold, {} spikes{}\n".format(
            files[form], route["n_compared"] - route["n_differences"], route["n_compared"], len(route["flips"]),
            sum(route["spikes"].values()), "" if route["ok"] else "; FIRST DIFFERENCE {}".format(route["first_divergence"])))
    stored = manifest["early_exit"]
    if arguments.threshold is not None:
        plain = {"temperature": 1.0, "metric": "confidence", "logits": "sum"}
        stored = {**plain, **(stored or {}), "threshold": arguments.threshold}
    policy: Policy | Planned | None = None
    if stored is not None and arguments.threshold is None and stored.get("method") == "policy":
        policy = Planned(arguments.bundle, stored, golden.n_samples)
    elif stored is not None:
        policy = Policy(stored)
    exits = None
    if policy is not None and "step" in sessions:
        exits = exits_of(runtime, sessions["step"], golden, policy, latency)
        for way, found in exits["ways"].items():
            made = "{} of {} session calls, {} of {} rows".format(*(found[k] for k in _MADE))
            sys.stdout.write("early exit, {}: mean step {:.2f}, {}\n".format(way, np.mean(found["exit_steps"]), made))
    elif "step" in sessions:
        note("this bundle has no early-exit policy; --threshold gives one")
    times = None
    if arguments.measure:
        times = measure(runtime, sessions, golden, policy, latency, sorted({1, arguments.batch}), arguments.seconds, power)
    flipped = {flip["sample"] for route in forms.values() for flip in route["flips"]}
    other = exits is not None and any(
        step != exits["expected_exit_steps"][k]
        for found in exits["ways"].values() for k, step in enumerate(found["exit_steps"]) if k not in flipped
    )
    if policy is not None and policy.said is not None:
        other |= policy.said["n_other"] > 0
        sys.stdout.write("{}: {} of {} decisions equal\n".format(
            stored["file"], golden.n_samples - policy.said["n_other"], golden.n_samples))
    ok = all(route["ok"] for route in forms.values()) and not other
    result = {
        "schema_version": 1, "target": manifest["target"], "ran_on": power.name if power is not None else runtime.provider,
        "provider": runtime.provider, "ok": ok, "n_samples": golden.n_samples, "forms": forms, "early_exit": exits,
        "times": times,
        "idle_w": None if idle is None else idle[1] / idle[2], "energy_unit": "J per batch, all that the GPU drew",
        "tf32": arguments.tf32, "versions": versions(),
        "configuration_sha256": hashlib.sha256((arguments.bundle / files["step"]).read_bytes()).hexdigest(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("{} on {}; {}\n".format("equal" if ok else "DIFFERENT", result["ran_on"], arguments.out))
    return OK if ok else DIFFERS


def main(argv: list[str] | None = None) -> int:
    text = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(description=text[0], epilog=text[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent, help="folder of the bundle")
    parser.add_argument("--provider", default="best", help=f"{', '.join(PROVIDERS)}, or a name that onnxruntime has")
    parser.add_argument("--device", type=int, default=0, help="which GPU, from 0")
    parser.add_argument("--form", action="append", choices=FORMS, help="only this form; may be given again")
    parser.add_argument("--samples", type=int, default=0, help="play only the first N golden samples")
    parser.add_argument("--threshold", type=float, help="leave early above this confidence, instead of the bundle's policy")
    parser.add_argument("--measure", action="store_true", help="time whole inferences of batch 1 and --batch, and their energy")
    parser.add_argument("--batch", type=int, default=64, help="the larger batch that --measure runs")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long --measure runs each way; a second or more")
    parser.add_argument("--tf32", action="store_true", help="let tensor cores round to TF32; spikes will differ")
    parser.add_argument("--out", type=Path, default=Path("lab.json"), help="where the result is written")
    arguments = parser.parse_args(argv)
    if arguments.batch < 1 or arguments.seconds <= 0 or arguments.samples < 0:
        parser.error("--batch is at least 1, --seconds more than 0, --samples 0 or more")
    try:
        return run(arguments)
    except RunnerError as error:
        note(str(error))
        return error.code


if __name__ == "__main__":
    sys.exit(main())
