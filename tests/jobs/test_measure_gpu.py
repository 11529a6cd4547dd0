"""`targets measure` without a GPU: a stand-in whose constants are known, torch on the processor, and every refusal."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.cli.render_measure import show_measured
from neurodeploy.errors import EnvironmentMissing, NeurodeployWarning, UsageError
from neurodeploy.hw import nvml
from neurodeploy.hw.profile import GpuProfile, any_target, gpu_named, read, resolve
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input, Lif, Linear
from neurodeploy.jobs.gpu_loads import GpuLoads, whole_floats
from neurodeploy.jobs.gpu_meter import Clock, Load, Spread, windows
from neurodeploy.jobs.measure_gpu import base_for, measure, measure_gpu
from rich.console import Console

from commands import run_json


class Bench:
    """A GPU whose time and energy pass only by work: 50 W at rest; a launch 4 us at 90 W; 2 TB/s at 50 W + 80 pJ a byte;
    fp32 at 40, bf16 at 400 and int8 at 1200 Top/s, each operation 5, 0.6 and 0.3 pJ beside its bytes."""

    name, driver = "NVIDIA H200", "999.1"

    def __init__(self, counts: bool = True) -> None:
        self.now, self.joule, self.counts = 0.0, 0.0, counts

    def power_w(self) -> float:
        return 50.0

    def energy_j(self) -> float | None:
        return self.joule if self.counts else None

    def spend(self, seconds: float, joule: float) -> None:
        self.now += seconds
        self.joule += 50 * seconds + joule

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda s: self.spend(s, 0.0))


class BenchLoads(GpuLoads):
    """The loads of that GPU."""

    def __init__(self, bench: Bench, *, int8: bool = True, watts: float = 40.0) -> None:
        super().__init__(torch.device("cpu"))
        self._bench, self._int8, self._watts = bench, int8, watts

    def tiny(self) -> Load:
        return self._load(1, 4e-6, 4e-6 * self._watts, calls=1000)

    def stream(self, cache_bytes: float) -> Load:
        n = 32 * cache_bytes
        return self._load(n, n / 2e12, 80e-12 * n)

    def arithmetic(self, precision: str) -> Load | None:
        rate, joule = {"fp32": (40e12, 5e-12), "bf16": (400e12, 0.6e-12), "int8": (1200e12, 0.3e-12)}[precision]
        if precision == "int8" and not self._int8:
            return None
        ops, moved = 1e11, 1e8
        return self._load(ops, ops / rate, joule * ops + 80e-12 * moved, n_bytes=moved)

    def network(self, graph: Graph, batch: int) -> Load:
        return self._load(batch, 1e-3 * batch, 0.1 * batch)

    def _load(self, amount: float, seconds: float, joule: float, *, n_bytes: float = 0.0, calls: int = 1) -> Load:
        return Load(lambda: self._bench.spend(seconds, joule), lambda: None, amount, n_bytes, calls)


def h200() -> GpuProfile:
    profile = any_target("h200")
    assert isinstance(profile, GpuProfile)
    return profile


def small() -> Graph:
    nodes = (Input("x", shape=(6,)), Linear("l", weight=np.full((4, 6), 0.5)), Lif("n", shape=(4,)))
    return Graph(nodes, (Edge("x", "l"), Edge("l", "n")), 3)


def test_every_constant_comes_back(tmp_path: Path) -> None:
    """Exact but for the six digits that a profile holds, and the last call of a window."""
    bench, out = Bench(), tmp_path / "mine.toml"
    result = measure(bench, BenchLoads(bench), h200(), graph=small(), out=out, batch=8, clock=bench.clock())
    found = {name: q.si[1] for name, q in result.entries.items()}
    op = {"fp32": (5e-12, 4), "bf16": (0.6e-12, 2), "int8": (0.3e-12, 1)}  # net, bytes a value
    wanted = {
        "power.idle": 50.0, "time.launch": 4e-6, "power.launch": 40.0, "rates.bandwidth": 2e12, "energy.byte": 80e-12,
        "factors.eta_fp32": 40 / 67, "factors.eta_bf16": 400 / 989, "factors.eta_int8": 1200 / 1979,
        **{f"energy.op_{p}": net + 80e-12 * width * 0.00335 for p, (net, width) in op.items()},
    }
    assert found == pytest.approx(wanted, rel=1e-5)
    profile = read(out)
    assert isinstance(profile, GpuProfile) and profile.name == "mine" and profile.device_names == ("NVIDIA H200",)
    assert profile.boundary == "board" and profile.rates["fp32"] == h200().rates["fp32"]
    for name, quantity in result.entries.items():
        table, entry = name.split(".")
        assert getattr(profile, table)[entry] == quantity and quantity.status == "measured"
        assert "NVIDIA H200, driver 999.1, 20" in quantity.source and "5 windows" in quantity.source
    one, eight = result.networks
    assert (one.batch, eight.batch) == (1, 8)
    assert (one.latency_s.value, eight.latency_s.value) == pytest.approx((1e-3, 8e-3), rel=1e-9)
    assert one.energy_j.value == pytest.approx(0.15, rel=1e-9)
    assert one.packaged["latency_s"]["nominal"] != one.measured["latency_s"]["nominal"]


def test_the_settings_are_the_profile(tmp_path: Path) -> None:
    bench = Bench()
    result = measure(bench, BenchLoads(bench), h200(), clock=bench.clock(), out=tmp_path / "mine.toml")
    changes = dict(s.removeprefix("profile.").split("=") for s in result.settings)
    set_ = any_target("h200", {key: float(value) for key, value in changes.items()})
    written = read(tmp_path / "mine.toml")
    assert isinstance(set_, GpuProfile) and isinstance(written, GpuProfile)
    for table in ("energy", "time", "power", "factors"):
        assert {k: q.value for k, q in getattr(set_, table).items()} == {k: q.value for k, q in getattr(written, table).items()}


def test_what_torch_cannot_do_keeps_the_packaged_number() -> None:
    bench = Bench()
    result = measure(bench, BenchLoads(bench, int8=False), h200(), clock=bench.clock())
    assert "energy.op_int8" not in result.entries and result.not_measured[0].startswith("int8: torch has no kernel")


def test_a_load_that_draws_nothing_is_refused() -> None:
    bench = Bench()
    with pytest.raises(UsageError, match="50 W under load, 50 W at rest"):
        measure(bench, BenchLoads(bench, watts=0.0), h200(), clock=bench.clock())


def test_a_counter_that_stands_still_is_refused() -> None:
    bench = Bench()
    clock = Clock(bench.clock().now, lambda s: setattr(bench, "now", bench.now + s))
    with pytest.raises(UsageError, match="stood still"):
        measure(bench, BenchLoads(bench), h200(), clock=clock)


def test_more_than_the_peak_is_another_gpu() -> None:
    bench = Bench()
    with pytest.raises(UsageError, match="40 Top/s in fp32") as caught:
        measure(bench, BenchLoads(bench), base_for("NVIDIA A100-SXM4-40GB", None), clock=bench.clock())
    assert "--target" in caught.value.remedy


def test_power_is_sampled_where_nothing_counts_it() -> None:
    found = windows(Bench(counts=False), Load(lambda: None, lambda: None, 1.0), 0.05, 2, Clock())
    assert all(w.watt == pytest.approx(50.0) and w.n_calls > 0 and w.seconds >= 0.05 for w in found)


def test_the_loads_run_on_a_processor() -> None:
    """Real work, small: what it counts is what torch is given."""
    loads, meter = GpuLoads(torch.device("cpu"), size=0.004), Bench(counts=False)
    arithmetic = [loads.arithmetic(p) for p in ("fp32", "bf16")]
    for load in (loads.tiny(), loads.stream(1e3), *arithmetic, loads.network(small(), 5)):
        assert load is not None
        (window,) = windows(meter, load, 0.01, 1, Clock())
        assert window.n_calls >= load.calls and load.amount > 0
    conv = loads.arithmetic("fp32")
    assert conv is not None and conv.amount == 2 * 256 * 196 * 256 * 9
    product = loads.arithmetic("int8")
    if product is not None:  # torch has no public name for it, so some version may lack it
        assert product.amount == 2 * 64**3
        product.work()


def test_fp32_is_whole_while_measured() -> None:
    before = torch.backends.cudnn.allow_tf32
    with whole_floats():
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_loops_are_no_load() -> None:
    graph = small()
    looped = Graph(
        (*graph.nodes, Linear("r", weight=np.zeros((4, 4)))), (*graph.edges, Edge("n", "r"), Edge("r", "n", 1)), 3
    )
    with pytest.raises(UsageError, match="loops or delays"):
        GpuLoads(torch.device("cpu")).network(looped, 1)


@pytest.mark.parametrize(("out", "words"), [
    ("mine.txt", "no name"), ("_mine.toml", "no name"), ("there.toml", "there already"),
])
def test_outputs_that_cannot_be(tmp_path: Path, out: str, words: str) -> None:
    (tmp_path / "there.toml").touch()
    with pytest.raises(UsageError, match=words):
        measure_gpu(out=tmp_path / out)


def test_bases() -> None:
    assert base_for("NVIDIA GH200 480GB", "h100").name == "h100"
    with pytest.raises(UsageError, match="no packaged profile names Quadro K4000"):
        base_for("Quadro K4000", None)
    with pytest.raises(UsageError, match="loihi2 is no GPU"):
        base_for("NVIDIA H200", "loihi2")


def test_without_a_gpu_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, answer = run_json("targets", "measure")
    assert code == 5 and answer["errors"][0]["code"] == "environment_missing" and answer["errors"][0]["remedy"]


class FakeNvml(types.ModuleType):
    """pynvml as far as it is used."""

    class NVMLError(Exception):
        pass

    def __init__(self, name: Any = b"NVIDIA A100-SXM4-40GB", fails: tuple[str, ...] = ()) -> None:
        super().__init__("pynvml")
        answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None, "nvmlDeviceGetHandleByIndex": lambda i: i, "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
            "nvmlDeviceGetName": lambda h: name, "nvmlSystemGetDriverVersion": lambda: "550.1",
            "nvmlDeviceGetPowerUsage": lambda h: 61_500, "nvmlDeviceGetTotalEnergyConsumption": lambda h: 2_500_000,
        }
        for function, answer in answers.items():
            setattr(self, function, self._failing(function) if function in fails else answer)

    def _failing(self, function: str) -> Callable[..., Any]:
        def fail(*_: Any) -> Any:
            raise self.NVMLError(f"{function}: not supported")

        return fail


@pytest.fixture
def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(module: types.ModuleType | None) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", module)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        nvml.device_name.cache_clear()

    yield install
    monkeypatch.undo()
    nvml.device_name.cache_clear()


def test_the_meter(fake_nvml: Callable[..., None]) -> None:
    fake_nvml(FakeNvml())
    meter = nvml.Nvml("GPU-1")
    assert (meter.name, meter.driver, meter.power_w(), meter.energy_j()) == ("NVIDIA A100-SXM4-40GB", "550.1", 61.5, 2500.0)
    fake_nvml(FakeNvml(fails=("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption")))
    meter = nvml.Nvml()
    assert meter.energy_j() is None
    with pytest.raises(EnvironmentMissing, match="does not tell its power"):
        meter.power_w()


@pytest.mark.parametrize("module", [None, FakeNvml(fails=("nvmlInit",))])
def test_without_library_or_driver_there_is_no_gpu(fake_nvml: Callable[..., None], module: types.ModuleType | None) -> None:
    fake_nvml(module)
    assert nvml.device_name() is None and resolve("gpu") == "h200"
    with pytest.raises(EnvironmentMissing) as caught:
        nvml.Nvml()
    assert "nvml" in caught.value.remedy


def test_the_alias_is_the_gpu_of_this_machine(fake_nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(FakeNvml())
    assert resolve("gpu") == "a100" == any_target("gpu").name
    fake_nvml(FakeNvml("Orin (nvgpu)"))
    assert resolve("gpu") == "orin" and resolve("speck") == "speck2f"
    fake_nvml(FakeNvml("NVIDIA GeForce RTX 4090"))
    with pytest.warns(NeurodeployWarning, match="RTX 4090 has no profile; h200 stands for it"):
        assert resolve("gpu") == "h200"
    fake_nvml(FakeNvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert nvml.device_name() is None


def test_the_longest_part_of_a_name_decides() -> None:
    assert [gpu_named(n) for n in ("NVIDIA Orin Nano Developer Kit", "NVIDIA Orin", "NVIDIA H200", "Tesla V100")] == [
        "orin-nano", "orin", "h200", None,
    ]


def test_a_person_sees_every_entry_beside_the_packaged_one() -> None:
    bench = Bench()
    result = measure(bench, BenchLoads(bench), h200(), graph=small(), batch=8, clock=bench.clock()).to_dict()
    console = Console(file=io.StringIO(), width=200)
    show_measured(console, result, h200().model_dump())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (*result["entries"], "100 (65 to 145)", "energy a sample", "--set profile.power.idle.value=50"):
        assert words in text
    assert Spread.of([3.0, 1.0, 2.0]).to_dict() == {"low": 1.0, "nominal": 2.0, "high": 3.0}
