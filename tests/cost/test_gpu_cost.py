"""The GPU model: vectors worked by hand on round numbers, what its terms depend on, and the one row that it is fitted to."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neurodeploy.cost.gpu_cost import gpu_cost
from neurodeploy.cost.gpu_memory import memory_needed, memory_violations
from neurodeploy.cost.gpu_work import LayerWork, work_of
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import GpuProfile, any_target

from gpu_profiles import q, round_gpu

ROOT = Path(__file__).parents[2]
GPUS = ("a100", "h100", "h100-server", "h200", "orin", "orin-nano")
LARGE = LayerWork("big", "synapse", 1, 2_000_000_000, 400, 400, n_macs=1_000_000_000, n_weights=5_000_000)
SMALL = LayerWork("n", "neuron", 2, n_ops=200, n_read=100, n_written=100, n_state=100, each_step=True, n_once=2)


def benchmark(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def gpu(name: str) -> GpuProfile:
    profile = any_target(name)
    assert isinstance(profile, GpuProfile)
    return profile


def test_a_kernel_bound_by_its_weights_by_hand() -> None:
    """2 G operations at 1 Top/s take 2 ms; 20 MB of weights, more than the cache, at 1 GB/s take 20 ms. Activations (3.2 kB)
    stay in the cache. Of 2 pJ an operation 0.025 values x 4 bytes x 10 pJ = 1 pJ is memory: 2 mJ + 20 MB x 10 pJ = 0.2 mJ,
    idle 20 mJ; nothing waits."""
    cost = gpu_cost([LARGE], round_gpu(), 1)
    assert cost.latency_s.nominal == pytest.approx(20e-3, rel=1e-12)
    terms = {name: joule.nominal for name, joule in cost.breakdown_j.items() if joule is not None}
    assert terms == pytest.approx({"compute": 2e-3, "memory": 0.2e-3, "launch": 0.0, "idle": 20e-3}, rel=1e-12)
    assert cost.energy_j.nominal == pytest.approx(22.2e-3, rel=1e-12) == pytest.approx(sum(terms.values()))
    assert cost.counts["macs"] == 1e9 and cost.counts["bytes"] == 20e6 and cost.counts["launches"] == 1
    assert cost.limiting == {"launch": 0.0, "compute": 0.0, "memory": 1.0}


def test_a_batch_reads_the_weights_once_by_hand() -> None:
    """At batch 100: 200 ms of operations cover 20 ms of memory; a sample costs 2 mJ + 0.2 mJ / 100 + 2 mJ."""
    cost = gpu_cost([LARGE], round_gpu(), 1, batch=100)
    assert cost.latency_s.nominal == pytest.approx(200e-3, rel=1e-12)
    assert cost.energy_j.nominal == pytest.approx(2e-3 + 0.002e-3 + 2e-3, rel=1e-12)
    assert cost.limiting["compute"] == 1.0 and cost.counts["bytes"] == 20e6 / 100


def test_small_kernels_wait_for_their_launches_by_hand() -> None:
    """Two kernels a timestep over 3 timesteps, a split and a concatenation: 8 launches of 10 us, each 200 operations 0.8 ns
    (one tile on one of 4 multiprocessors). 1 W idle and 2 W waiting."""
    cost = gpu_cost([SMALL], round_gpu(), 3)
    waiting = 80e-6 - 3 * 0.8e-9
    assert cost.latency_s.nominal == pytest.approx(80e-6, rel=1e-12)
    assert cost.breakdown_j["launch"].nominal == pytest.approx(2 * waiting, rel=1e-12)  # type: ignore[union-attr]
    assert cost.counts["launches"] == 8 and cost.limiting["launch"] == 1.0 and cost.counts["bytes"] == 0
    assert gpu_cost([SMALL], round_gpu(), 3, form="step").counts["launches"] == 6
    fused = gpu_cost([SMALL], round_gpu(factors={"fusion": q(4, "kernel")}), 3)
    assert fused.latency_s.nominal == pytest.approx(20e-6, rel=1e-12)


def test_what_does_not_fit_the_cache_passes_through_the_memory_by_hand() -> None:
    """100 values read, 100 written, 100 of state twice: 1600 bytes. Beyond a cache of 1500 bytes they take 1.6 us at 1 GB/s."""
    work = LayerWork("n", "neuron", 1, 100, 100, 100, n_state=100, each_step=True)
    profile = round_gpu(capacity={"cache": q(0.0015, "MB")}, time={"launch": q(0.001, "us")})
    cost = gpu_cost([work], profile, 5)
    assert cost.counts["bytes"] == 5 * 1600 and cost.latency_s.nominal == pytest.approx(5 * 1.6e-6, rel=1e-12)


def test_tiles_that_leave_multiprocessors_idle_by_hand() -> None:
    """500 outputs in tiles of 100 on 4 multiprocessors: 5 tiles in 2 rounds, 5/8 of the peak; 400 outputs fill one round."""
    profile = round_gpu(time={"launch": q(0.001, "us")})
    times = [gpu_cost([LayerWork("c", "synapse", 1, 8_000_000, 0, n)], profile, 1).latency_s.nominal for n in (400, 500)]
    assert times == pytest.approx([8e-6, 8e-6 * 8 / 5], rel=1e-12)


def test_a_gap_between_kernels_is_never_hidden() -> None:
    """2 ms of operations and a gap of 5 us; a launch of 10 us is hidden."""
    work = LayerWork("c", "synapse", 1, 2_000_000_000, 10, 400)
    cost = gpu_cost([work], round_gpu(time={"gap": q(5, "us")}), 1)
    assert cost.latency_s.nominal == pytest.approx(2.005e-3, rel=1e-12)
    assert cost.breakdown_j["launch"].nominal == pytest.approx(2 * 5e-6, rel=1e-9)  # type: ignore[union-attr]


def test_weights_are_read_again_each_timestep_unless_they_stay_in_the_cache() -> None:
    layer = LayerWork("fc", "synapse", 1, 2000, 10, 400, n_weights=1_000_000)
    large, small = round_gpu(), round_gpu(capacity={"cache": q(1, "MB")})
    read = {(p.capacity.cache.value, form): gpu_cost([layer], p, 7, form=form).counts["bytes"]
            for p in (large, small) for form in ("unrolled", "step")}
    assert read == pytest.approx({(10, "unrolled"): 4e6, (10, "step"): 4e6, (1, "unrolled"): 4e6, (1, "step"): 28e6}, rel=1e-12)


def test_bands_of_compute_and_memory_exclude_each_other() -> None:
    """e_byte 5-20 pJ: at 20 the operations' own share is 0, at 5 it is 1.5 pJ. 2 G op and 20 MB: 3 + 0.1 or 0 + 0.4 mJ."""
    cost = gpu_cost([LARGE], round_gpu(energy={"byte": q(10, "pJ", 5, 20)}), 1)
    compute, memory = cost.breakdown_j["compute"], cost.breakdown_j["memory"]
    assert compute is not None and memory is not None
    assert [compute.low, compute.nominal, compute.high] == pytest.approx([0, 2e-3, 3e-3], abs=1e-18, rel=1e-12)
    assert [memory.low, memory.nominal, memory.high] == pytest.approx([0.1e-3, 0.2e-3, 0.4e-3], rel=1e-12)
    dynamic = cost.energy_dynamic_j
    assert [dynamic.low, dynamic.nominal, dynamic.high] == pytest.approx([0.4e-3, 2.2e-3, 3.1e-3], rel=1e-12)


def test_idle_power_runs_between_samples() -> None:
    cost = gpu_cost([LARGE], round_gpu(), 1, batch=2, interval_s=0.5)
    assert cost.breakdown_j["idle"].nominal == pytest.approx(0.5, rel=1e-12)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="interval_s is 1e-06"):
        gpu_cost([LARGE], round_gpu(), 1, interval_s=1e-6)


@pytest.mark.parametrize(("table", "entry", "term"), [
    ("energy", "op_fp32", "compute"), ("energy", "byte", "memory"), ("power", "idle", "idle"), ("power", "launch", "launch"),
])
def test_what_the_profile_lacks_is_not_available(table: str, entry: str, term: str) -> None:
    cost = gpu_cost([LARGE, SMALL], round_gpu(**{table: {entry: None}}), 2)
    assert cost.breakdown_j[term] is None and cost.breakdown_status[term] is None
    assert any(text.startswith(f"{term}: not available") for text in cost.excluded)
    rest = [joule.nominal for joule in cost.breakdown_j.values() if joule is not None]
    assert len(rest) == 3 and cost.energy_j.nominal == pytest.approx(sum(rest), rel=1e-12)
    assert all(layer.breakdown_j.get(term) is None for layer in cost.layers)


@pytest.mark.parametrize(("how", "words"), [
    ({"precision": "int8"}, "precision 'int8'"), ({"batch": 0}, "batch 0"), ({"n_timesteps": 0}, "0 timesteps"),
    ({"form": "scan"}, "form 'scan'"), ({"work": []}, "0 layers"),
])
def test_what_no_inference_has_is_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gpu_cost(**{"work": [LARGE], "profile": round_gpu(), "n_timesteps": 1, **how})


@pytest.mark.parametrize("name", GPUS)
def test_the_answer_on_every_gpu_is_whole(name: str) -> None:
    graph = benchmark("gpu_rows").keyword_spotting(10)
    cost = gpu_cost(work_of(graph), gpu(name), 10)
    for joule in (*cost.breakdown_j.values(), cost.energy_j, cost.latency_s, cost.edp_js):
        assert joule is not None and 0 <= joule.low <= joule.nominal <= joule.high
    entry = cost.to_dict()
    assert entry["cores"] == [] and entry["n_cores"] is None and entry["boundary"] == gpu(name).boundary
    assert entry["counts"]["synops"] is None and entry["counts"]["macs"] == 10 * (390 * 256 + 256 * 256 + 256 * 29)
    assert {layer["name"] for layer in entry["layers"]} == {n.name for n in graph.nodes[1:]}
    assert all(row["source"] for row in entry["provenance"].values()) and "energy.byte" in entry["provenance"]
    assert sum(entry["limiting"].values()) == pytest.approx(1, rel=1e-12)
    assert entry["limiting"]["launch"] > 0.9, "launches dominate small networks at batch 1"
    dynamic = {term: joule.nominal for term, joule in cost.breakdown_j.items() if joule is not None and term != "idle"}
    assert max(dynamic, key=lambda term: dynamic[term]) == "launch"
    layers = sum(layer.energy_dynamic_j.nominal for layer in cost.layers)
    assert layers == pytest.approx(cost.energy_dynamic_j.nominal, rel=1e-9), "summed in another order"


def test_spikes_do_not_matter_but_batch_and_form_do() -> None:
    work = work_of(benchmark("gpu_rows").keyword_spotting(10))
    each = {(b, f): gpu_cost(work, gpu("h200"), 10, batch=b, form=f) for b in (1, 64) for f in ("unrolled", "step")}
    joule = {key: cost.energy_j.nominal for key, cost in each.items()}
    assert joule[64, "unrolled"] < joule[1, "unrolled"] / 30, "a batch shares its launches"
    assert joule[1, "unrolled"] < joule[1, "step"], "the step form launches every synapse at every timestep"


def test_resnet50_by_its_published_size() -> None:
    """He et al. 2015 and torchvision's v1.5: 25.56 M parameters, 4.09 G multiply-accumulates, norms folded (25.53 M)."""
    work = benchmark("gpu_rows").resnet50()
    assert sum(w.n_macs for w in work) == 4_089_184_256 and sum(w.n_kernels for w in work) == 56
    assert sum(w.n_weights for w in work) == 25_557_032 - 2 * 26_560 + 26_560
    assert [w.n_written for w in work][-1] == 1000


def test_the_model_answers_the_fitted_row() -> None:
    """AGX Orin offline: 6.92 mJ an image and 3526 images a second. 0.2 %: the profile's constants have three digits."""
    rows = benchmark("gpu_rows")
    cost = gpu_cost(rows.resnet50(), gpu("orin"), 1, batch=rows.BATCH, precision="int8")
    assert cost.energy_j.nominal == pytest.approx(6.92e-3, rel=2e-3)
    assert rows.BATCH / cost.latency_s.nominal == pytest.approx(24.4 / 6.92e-3, rel=2e-3)
    assert cost.limiting["launch"] == 0.0


def test_every_profile_holds_what_the_fit_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = benchmark("gpu_rows")
    assert rows.disagreements(rows.fit()) == []
    monkeypatch.setattr(rows, "IMAGE_J", 8e-3)
    assert any("orin: energy.op_int8" in line for line in rows.disagreements(rows.fit())), "another row, other constants"


def test_the_page_has_the_answers() -> None:
    """docs/gpu.md is what benchmarks/gpu_rows.py prints."""
    rows = benchmark("gpu_rows")
    page = (ROOT / "docs" / "gpu.md").read_text("utf-8")
    resnet, spiking = rows.resnet50(), work_of(rows.keyword_spotting(10))
    dense = work_of(rows.keyword_spotting(1, spiking=False))
    for cost in (
        gpu_cost(resnet, gpu("orin"), 1, precision="int8"), gpu_cost(resnet, gpu("h100"), 1, batch=256, precision="int8"),
        gpu_cost(resnet, gpu("h100-server"), 1, batch=256, precision="int8"), gpu_cost(dense, gpu("orin"), 1),
        gpu_cost(spiking, gpu("orin"), 10), gpu_cost(spiking, gpu("h200"), 10),
    ):
        time, rate, joule = rows.figures(cost)
        assert f"| {time} | {rate} /s | {joule} | {cost.boundary} |" in page
    found = rows.fit()
    for number in (f"{found.eta:.3f} (", f"{found.op_pj.nominal:.3f} pJ (", f"{found.overall:.3f},"):
        assert number in page
    assert f"| {found.share_of_maximum:.3f} |" in page


def test_memory_is_the_limit() -> None:
    """Weights 10, and of each sample 5 of state and 20 written over 3 timesteps: 4 x (10 + 2 x 65) bytes unrolled."""
    work = [LayerWork("a", "synapse", 1, 2, 7, 20, n_weights=10), LayerWork("b", "neuron", 1, 2, 0, 0, n_state=5)]
    assert memory_needed(work, 3, batch=2, precision="fp32", form="unrolled") == 4 * (10 + 2 * 65)
    assert memory_needed(work, 3, batch=2, precision="bf16", form="step") == 2 * (10 + 2 * 25)
    profile = round_gpu(capacity={"memory": q(560e-9, "GB")})
    assert memory_violations(work, profile, 3, batch=2) == ()
    (broken,) = memory_violations(work, profile, 3, batch=3)
    assert broken.rule == "gpu_memory" and "at most 2" in broken.remedy and "step form" in broken.remedy
    assert memory_violations(work, profile, 3, batch=3, form="step") == ()
    (hopeless,) = memory_violations([LARGE], profile, 1)
    assert hopeless.remedy == "Use a smaller network"


def test_time_and_energy_grow_with_the_batch_never_faster_than_it() -> None:
    work = work_of(benchmark("gpu_rows").keyword_spotting(4))
    seconds = np.array([gpu_cost(work, gpu("orin"), 4, batch=b).latency_s.nominal for b in (1, 2, 16, 128, 1024)])
    assert (np.diff(seconds) >= 0).all() and (np.diff(seconds / [1, 2, 16, 128, 1024]) < 0).all()
