"""The fit of the GPU model, and what it then says of other GPUs and other batches.

    python benchmarks/gpu_rows.py

Recomputes the constants that docs/gpu.md derives from one published row and prints the answers of that page. Exit code 1 where
a profile disagrees with them by more than a rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from neurodeploy.cost.band import Band
from neurodeploy.cost.gpu_cost import GpuCost, gpu_cost
from neurodeploy.cost.gpu_work import LayerWork, work_of
from neurodeploy.hw.profile import GpuProfile, Quantity, any_target, names
from neurodeploy.ir.graph import Edge, Graph
from neurodeploy.ir.nodes import Input, Lif, Linear, Node, Relu

# The one row: MLPerf Inference v3.1, edge, AGX Orin, ResNet-50 v1.5 int8, offline, with its power log at the wall.
FITTED, PRECISION, BATCH = "orin", "int8", 256
IMAGE_J, RUNNING_W = 6.92e-3, 24.4
KEYWORDS, N_TIMESTEPS = (390, 256, 256, 29), 10  # Blouw et al. 2019
NJ_PER_MAC = (32.0, 172.0)  # the same, above idle: Jetson TX1 and Quadro K4000 in TensorFlow, 1.3 to 2.4 ms an inference
MOST = 1.5  # an operation may cost more than maximum power / peak: large products draw that power below the peak
ROUNDING = 0.01


def resnet50() -> tuple[LayerWork, ...]:
    """ResNet-50 v1.5 (the stride is in the 3 x 3 convolution) on 224 x 224, normalisation, activation and addition fused."""
    work = [
        LayerWork.of_synapse("conv1", (64, 3, 7, 7), (3, 224, 224), (64, 112, 112), n_biases=64),
        LayerWork("pool", "pool", 1, 9 * 64 * 56 * 56, 64 * 112 * 112, 64 * 56 * 56),
    ]
    n_in, size = 64, 56
    for stage, (n_blocks, n_mid, first) in enumerate(((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)), start=1):
        for block in range(n_blocks):
            stride, name, n_out = first if block == 0 else 1, f"stage{stage}.{block}", 4 * n_mid
            out = size // stride
            shapes = [
                ("a", (n_mid, n_in, 1, 1), (n_in, size, size), (n_mid, size, size), 0),
                ("b", (n_mid, n_mid, 3, 3), (n_mid, size, size), (n_mid, out, out), 0),
                ("c", (n_out, n_mid, 1, 1), (n_mid, out, out), (n_out, out, out), n_out * out * out),
            ]
            if block == 0:  # a strided 1 x 1 kernel reads one pixel a window
                shapes.insert(0, ("shortcut", (n_out, n_in, 1, 1), (n_in, out, out), (n_out, out, out), 0))
            for part, weight, source, target, n_added in shapes:
                work.append(
                    LayerWork.of_synapse(f"{name}.{part}", weight, source, target, n_biases=weight[0], n_added=n_added)
                )
            n_in, size = n_out, out
    work.append(LayerWork("mean", "pool", 1, 2048 * 49, 2048 * 49, 2048))
    work.append(LayerWork.of_synapse("fc", (1000, 2048), (2048,), (1000,), n_biases=1000))
    return tuple(work)


def keyword_spotting(n_timesteps: int, *, spiking: bool = True) -> Graph:
    """The published shapes with spiking neurons or rectifiers; of weights only the shapes matter."""
    nodes: list[Node] = [Input("mfcc", shape=KEYWORDS[:1])]
    edges = []
    for i, (n_in, n_out) in enumerate(pairwise(KEYWORDS), start=1):
        neuron = Lif(f"n{i}", shape=(n_out,), inv_tau=0.5) if spiking else Relu(f"n{i}")
        nodes += [Linear(f"fc{i}", weight=np.zeros((n_out, n_in))), neuron]
        edges += [Edge(nodes[-3].name, f"fc{i}"), Edge(f"fc{i}", f"n{i}")]
    return Graph(tuple(nodes), tuple(edges), n_timesteps)


@dataclass(frozen=True)
class Fit:
    """What the row says: share of the peak, energy per operation with its memory (pJ), values moved per operation."""

    eta: float
    overall: float
    op_pj: Band
    values_per_op: float
    byte_high_pj: float
    share_of_maximum: float


def fit() -> Fit:
    """The constants that make the model answer the row with the row."""
    orin, work = gpu(FITTED), resnet50()
    seconds = IMAGE_J / RUNNING_W
    n_ops = 2.0 * sum(w.n_macs for w in work)
    low, high = 0.05, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        slower = _row(_with(orin, "factors", eta_int8=middle)).latency_s.nominal / BATCH > seconds
        low, high = (middle, high) if slower else (low, middle)
    found = _row(orin)
    ops, moved = (found.counts[name] or 0.0 for name in ("ops", "bytes"))
    idle_low, idle, idle_high = orin.power["idle"].si
    op = Band(*((IMAGE_J - watts * seconds) / ops * 1e12 for watts in (idle_high, idle, idle_low)))
    most = orin.power["maximum"].si[1] / orin.rates[PRECISION].si[1] * 1e12
    return Fit(
        eta=low, overall=n_ops / seconds / orin.rates[PRECISION].si[1], op_pj=op, values_per_op=moved / ops,
        byte_high_pj=op.high / (moved / ops), share_of_maximum=op.nominal / most,
    )


def _row(profile: GpuProfile) -> GpuCost:
    return gpu_cost(resnet50(), profile, 1, batch=BATCH, precision=PRECISION)


def _with(profile: GpuProfile, table: str, **values: float) -> GpuProfile:
    entries = {
        name: q.model_copy(update={"value": values[name], "low": None, "high": None}) if name in values else q
        for name, q in getattr(profile, table).items()
    }
    return profile.model_copy(update={table: entries})


def gpu(name: str) -> GpuProfile:
    """The profile of a GPU."""
    profile = any_target(name)
    assert isinstance(profile, GpuProfile)
    return profile


def wanted(found: Fit) -> Iterator[tuple[str, str, Quantity, Band]]:
    """(profile, entry, what it has, what the fit gives) of every constant that follows from the row."""
    for name in names():
        profile = any_target(name)
        if not isinstance(profile, GpuProfile):
            continue
        for precision in profile.arithmetic.precisions:
            most = profile.power["maximum"].si[1] / profile.rates[precision].si[1] * 1e12
            nominal = most * found.share_of_maximum
            fitted = (name, precision) == (FITTED, PRECISION)
            yield name, f"energy.op_{precision}", profile.energy[f"op_{precision}"], (
                found.op_pj if fitted else Band(nominal / 2, nominal, most * MOST)
            )
        eta = profile.factors["eta_int8"]
        yield name, "factors.eta_int8", eta, Band(eta.band[0], found.eta, eta.band[2])  # its band is a judgement
        flat = profile.factors["values_per_op"]
        yield name, "factors.values_per_op", flat, Band(*(found.values_per_op,) * 3)


def disagreements(found: Fit) -> list[str]:
    """Every profile entry that is not what the fit gives."""
    wrong = []
    for name, entry, quantity, band in wanted(found):
        pairs = zip(quantity.band, (band.low, band.nominal, band.high), strict=True)
        if any(abs(has - should) > ROUNDING * should for has, should in pairs):
            wrong.append(f"{name}: {entry} is {quantity.band}, the fit gives {band}")
    byte = gpu(FITTED).energy["byte"].band[2]
    if byte > found.byte_high_pj:
        wrong.append(f"{FITTED}: energy.byte up to {byte} pJ leaves operations nothing above {found.byte_high_pj:.1f}")
    return wrong


def _line(what: str, cost: GpuCost) -> str:
    shares = ", ".join(f"{bound} {share:.0%}" for bound, share in cost.limiting.items() if share >= 0.005)
    time, rate, joule = figures(cost)
    return f"{what:<46} {time:<25} {rate:>10} /s  {joule:<23} {cost.boundary}  {shares}"


def figures(cost: GpuCost) -> tuple[str, str, str]:
    """Latency, rate and energy a sample as docs/gpu.md has them: three digits, the band in parentheses."""
    rate = _digits(cost.batch / cost.latency_s.nominal)
    return f"{_band(cost.latency_s, 'ms')}", f"{float(rate):,.0f}", _band(cost.energy_j, "mJ")


def _band(band: Band, unit: str) -> str:
    low, nominal, high = (_digits(x * 1e3) for x in (band.low, band.nominal, band.high))
    return f"{nominal} {unit} ({low}-{high})"


def _digits(x: float) -> str:
    return f"{x:#.3g}".rstrip(".")


def main() -> int:
    """Print fit and answers; 1 where a profile disagrees."""
    found = fit()
    print(f"fit on {FITTED}, ResNet-50 {PRECISION}, batch {BATCH}: eta {found.eta:.4f} where arithmetic binds, "
          f"{found.overall:.4f} over all layers;")
    print(f"{found.op_pj.nominal:.4f} pJ/op all-in ({found.op_pj.low:.4f}-{found.op_pj.high:.4f}), "
          f"{found.values_per_op:.6f} values/op, byte below {found.byte_high_pj:.1f} pJ, "
          f"{found.share_of_maximum:.4f} of maximum power / peak")
    print(_line("AGX Orin offline (the fitted row)", _row(gpu(FITTED))))
    for name in ("orin", "orin-nano", "a100", "h100", "h200"):
        print(_line(f"{name}, ResNet-50 int8, batch 1", gpu_cost(resnet50(), gpu(name), 1, precision=PRECISION)))
    for name in ("a100", "h100", "h100-server", "h200"):
        print(_line(f"{name}, ResNet-50 int8, batch {BATCH}", _row(gpu(name))))
    n_macs = sum(a * b for a, b in pairwise(KEYWORDS))
    for name in (n for n in names() if isinstance(any_target(n), GpuProfile)):
        for steps in (1, N_TIMESTEPS):
            work = work_of(keyword_spotting(steps, spiking=steps > 1))
            cost = gpu_cost(work, gpu(name), steps)
            joule = cost.energy_dynamic_j
            per_mac = [x / n_macs * 1e9 for x in (joule.low, joule.nominal, joule.high)]
            print(_line(f"{name}, keyword spotting {'dense' if steps == 1 else 'spiking'}, T={steps}", cost))
            print(f"    above idle {per_mac[1]:.1f} nJ ({per_mac[0]:.1f}-{per_mac[2]:.1f}) per MAC of one pass; "
                  f"published for one dense pass {NJ_PER_MAC[0]:.0f}-{NJ_PER_MAC[1]:.0f}")
    wrong = disagreements(found)
    print("\n".join(["", "DISAGREES", *wrong] if wrong else ["", "every profile holds what the fit gives"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
