"""One training step of a convolutional spiking network, forward and backward, against spikingjelly, snntorch and norse.

    python benchmarks/bench_train.py [--repeats 15] [--compile] [--out results/train.json]

T = 8, two channels in: conv3x3(2 -> C)-LIF-conv3x3 stride 2 (C -> 2C)-LIF-linear(-> 100)-LIF, 1 thread, in three sizes: "wide"
is batch 16 of 32 x 32 with C = 32, "narrow" the same with C = 16, "digits" batch 32 of 8 x 8 with C = 16 and batch norms.
Synapses of all tools run on all timesteps at once; neurons are each tool's own (tau 2, threshold 1, hard reset, ATan surrogate
where it has one). Every repeat times all tools one after another, so that a ratio compares what ran side by side; figures are
medians of these ratios. Spikes and gradients of ours must equal spikingjelly's, which computes the same equation. --compile
adds torch.compile of the whole step, for ours and for spikingjelly, and `synapses`, the same network without neurons, compiled:
no neuron can be faster than that. Exit code 1 where the fastest peer takes less than 1.1 times as long as ours, or ours
differs; 5 without a peer to compare with.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from neurodeploy.models.neurons import Dynamics, Lif
from torch import Tensor, nn

T = 8
OURS = "neurodeploy"
LEAST = 1.1  # ours against the fastest peer, eager


@dataclass(frozen=True)
class Size:
    batch: int
    side: int
    width: int
    norm: bool


SIZES = {"wide": Size(16, 32, 32, False), "narrow": Size(16, 32, 16, False), "digits": Size(32, 8, 16, True)}


class Network(nn.Module):
    """The same synapses for every tool, with neurons of its own."""

    def __init__(self, size: Size, neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        w = size.width
        self.conv1, self.conv2 = nn.Conv2d(2, w, 3, padding=1, bias=False), nn.Conv2d(w, 2 * w, 3, 2, 1, bias=False)
        self.norm1, self.norm2 = (nn.BatchNorm2d(c) if size.norm else nn.Identity() for c in (w, 2 * w))
        self.linear = nn.Linear(2 * w * (size.side // 2) ** 2, 100, bias=False)
        for layer in (self.conv1, self.conv2, self.linear):
            nn.init.normal_(layer.weight, 0.0, 6 / layer.weight[0].numel() ** 0.5)  # so that every layer fires
        self.neurons = nn.ModuleList(neuron() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        steps, batch = x.shape[:2]
        a = self.norm1(self.conv1(x.flatten(0, 1)))
        a = self.norm2(self.conv2(self.neurons[0](a.reshape(steps, batch, *a.shape[1:])).flatten(0, 1)))
        a = self.linear(self.neurons[1](a.reshape(steps, batch, *a.shape[1:])).flatten(0, 1).flatten(1))
        return self.neurons[2](a.reshape(steps, batch, -1))


class Stepwise(nn.Module):
    """A neuron that is called once a timestep with its state."""

    def __init__(self, step: Callable[[Tensor, object], tuple[Tensor, object]], start: Callable[[], object]) -> None:
        super().__init__()
        self.step, self.start = step, start

    def forward(self, x: Tensor) -> Tensor:
        state, spikes = self.start(), []
        for current in x:
            s, state = self.step(current, state)
            spikes.append(s)
        return torch.stack(spikes)


def ours() -> nn.Module:
    return Lif(Dynamics(), 2.0)


def spikingjelly() -> Callable[[], nn.Module]:
    neuron = importlib.import_module("spikingjelly.activation_based.neuron")
    surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")

    class MultiStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(2.0), detach_reset=True, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            self.node.reset()
            spikes: Tensor = self.node(x)
            return spikes

    return MultiStep


def snntorch() -> Callable[[], nn.Module]:
    snn, surrogate = importlib.import_module("snntorch"), importlib.import_module("snntorch.surrogate")

    def make() -> nn.Module:
        leaky = snn.Leaky(beta=0.5, spike_grad=surrogate.atan(2.0), reset_mechanism="zero")
        return Stepwise(lambda x, state: leaky(x, state), leaky.reset_mem)

    return make


def norse() -> Callable[[], nn.Module]:
    torch_part = importlib.import_module("norse.torch")

    def make() -> nn.Module:
        cell = torch_part.LIFBoxCell(torch_part.LIFBoxParameters(tau_mem_inv=torch.as_tensor(500.0)), dt=1e-3)
        return Stepwise(lambda x, state: cell(x, state), lambda: None)

    return make


PEERS = {"spikingjelly": spikingjelly, "snntorch": snntorch, "norse": norse}


def step(network: nn.Module, x: Tensor) -> Tensor:
    """One forward and backward pass; the spikes put out."""
    network.zero_grad(set_to_none=True)
    spikes: Tensor = network(x)
    spikes.mean(dim=0).square().sum().backward()  # type: ignore[no-untyped-call]
    return spikes


def same(a: nn.Module, b: nn.Module, x: Tensor) -> bool:
    """Whether two tools give equal spikes, and gradients equal but for the order of sums."""
    first, second = step(a, x).detach(), step(b, x).detach()
    gradients = zip((a.conv1.weight, a.conv2.weight, a.linear.weight), (b.conv1.weight, b.conv2.weight, b.linear.weight),
                    strict=True)  # fmt: skip
    return bool(first.sum() > 0 and torch.equal(first, second)) and all(
        torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-5 * float(p.grad.abs().max())) for p, q in gradients
    )


def timed(network: nn.Module, x: Tensor) -> float:
    began = time.perf_counter()
    step(network, x)
    return time.perf_counter() - began


def measured(size: Size, peers: dict[str, Callable[[], nn.Module]], repeats: int, compiled: bool) -> dict[str, object]:
    """Ratios of one size, printed too."""
    torch.compiler.reset()
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(T, size.batch, 2, size.side, size.side, generator=generator) < 0.3).float()
    networks: dict[str, nn.Module] = {name: Network(size, make) for name, make in {OURS: ours, **peers}.items()}
    equal = "spikingjelly" not in peers or same(networks[OURS], networks["spikingjelly"], x)
    print(f"spikes and gradients equal spikingjelly's: {equal}")
    if compiled:
        also = {OURS: ours} | {name: make for name, make in peers.items() if name == "spikingjelly"}
        networks |= {f"{name}, compiled": torch.compile(Network(size, make)) for name, make in also.items()}
        networks["synapses, compiled"] = torch.compile(Network(size, nn.Identity))
    for network in networks.values():
        for _ in range(3):
            step(network, x)
    seconds = [{name: timed(network, x) for name, network in networks.items()} for _ in range(repeats)]
    ratios = {name: statistics.median(row[name] / row[OURS] for row in seconds) for name in networks}
    fastest = [min(row[name] for name in peers) for row in seconds]
    for name, ratio in ratios.items():
        median = statistics.median(row[name] for row in seconds)
        rate = float(step(networks[name], x).detach().mean()) if not name.startswith("synapses") else 0.0
        print(f"{name:24} {1e3 * median:8.1f} ms   {ratio:5.2f} x ours   {100 * rate:.1f} % of output neurons fire")
    rows = list(zip(fastest, seconds, strict=True))
    gains = {name: statistics.median(best / row[name] for best, row in rows) for name in networks if name not in peers}
    for name, gain in gains.items():
        print(f"the fastest peer takes {gain:.2f} times as long as {name}")
    return {"equal": equal, "ratios": ratios, "fastest_peer_against": gains}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--compile", action="store_true", help="also compiled, half a minute each")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    peers = {}
    for name, load in PEERS.items():
        try:
            peers[name] = load()
        except ImportError as error:
            print(f"{name}: not there ({error}); pip install 'neurodeploy[bench]'")
    if not peers:
        return 5
    found = {}
    for name, size in SIZES.items():
        print(f"\n{name}: {size}")
        found[name] = measured(size, peers, args.repeats, args.compile)
    if args.out is not None:
        args.out.write_text(json.dumps({"torch": torch.__version__, "repeats": args.repeats, "sizes": found}, indent=1) + "\n")
    return 0 if all(f["equal"] and f["fastest_peer_against"][OURS] >= LEAST for f in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
