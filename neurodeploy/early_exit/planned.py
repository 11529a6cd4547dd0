"""SEENN-II as it is deployed: a trained policy with what it sees and who runs it, and its file in a bundle.

`policy.safetensors` holds the tensors of `policy.StepPolicy` and, as `golden.images` and `golden.steps`, some of its decisions;
how the network is built stands in the manifest. Nothing in either can run code.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from neurodeploy.early_exit.confidence import IntArray
from neurodeploy.early_exit.policy import Images, StepPolicy
from neurodeploy.errors import Mismatch, UnsafeFile, UsageError
from neurodeploy.models.foreign_gate import safetensors_header
from neurodeploy.search.recipe import ExitSettings

FILE = "policy.safetensors"
N_GOLDEN = 32  # decisions that a bundle carries
# Two logits closer than this may change places on another machine, which adds products in another order.
NEAR = 1e-4
Sees = Literal["image", "events"]  # the image itself, or the counts [C, H, W] of the events of the first reading


@dataclass(frozen=True, eq=False)
class PlannedPolicy:
    """`network` says beforehand how long a sample runs: timesteps, on event-driven chips readings of the vote.

    beta: what it was trained with. golden: some of what it sees [n, C, H, W]; its decisions on them are kept in the file.
    settings: those that it was made by; they say who runs it, too.
    """

    network: StepPolicy
    beta: float
    sees: Sees
    golden: Images
    settings: ExitSettings

    @property
    def n_timesteps(self) -> int:
        """The longest that a sample may run."""
        return self.network.n_timesteps

    def steps(self, views: Images) -> IntArray:
        """Timesteps, or readings, [N] of samples by what the policy sees of them [N, C, H, W]; UsageError for other shapes."""
        if views.shape[1:] != self.network.shape:
            raise UsageError(f"it is shown {list(views.shape[1:])}", where="early-exit policy", code="wrong_data",
                             limit=f"It sees {self.sees}: {list(self.network.shape)}",
                             remedy="Give the kind of data that it was trained on")
        return self.network.steps(views)

    def to_dict(self) -> dict[str, Any]:
        """What stands in a manifest, plain values."""
        net = self.network
        return {
            "method": "policy", "file": FILE, "shape": list(net.shape), "n_timesteps": net.n_timesteps,
            "channels": list(net.channels), "lengths": list(net.lengths), "beta": self.beta, "sees": self.sees,
            "settings": self.settings.model_dump(mode="json"),
        }

    def to_bytes(self) -> bytes:
        """The file that lies beside the manifest."""
        golden = torch.from_numpy(np.ascontiguousarray(self.golden, dtype=np.float32))
        tensors = {k: v.detach().contiguous() for k, v in self.network.state_dict().items()}
        steps = torch.from_numpy(self.steps(self.golden))
        return safetensors.torch.save({**tensors, "golden.images": golden, "golden.steps": steps})

    @classmethod
    def read(cls, entry: Mapping[str, Any], payload: bytes, where: str) -> tuple[Self, IntArray]:
        """(the policy of a manifest's entry and its file, the decisions in the file); UnsafeFile where they are none."""
        safetensors_header(io.BytesIO(payload), where)
        try:
            with torch.device("meta"):  # what is claimed is compared before memory is taken
                network = _built(entry)
            beta, settings = float(entry["beta"]), ExitSettings.model_validate(entry["settings"])
            found = safetensors.torch.load(payload)
            n = len(found["golden.images"])
        except (KeyError, TypeError, ValueError, SafetensorError) as err:
            raise UnsafeFile(f"early_exit describes no policy ({err})", where=where, remedy="Export again") from err
        if entry.get("sees") not in ("image", "events") or not math.isfinite(beta):
            raise UnsafeFile("early_exit describes no policy: sees or beta is damaged", where=where, remedy="Export again")
        wanted = {name: (t.shape, t.dtype) for name, t in network.state_dict().items()}
        wanted |= {"golden.images": (torch.Size([n, *network.shape]), torch.float32),
                   "golden.steps": (torch.Size([n]), torch.int64)}
        if {name: (t.shape, t.dtype) for name, t in found.items()} != wanted or not n:
            raise UnsafeFile(f"{FILE} holds other tensors than its description", where=where, remedy="Export again")
        if not all(bool(torch.isfinite(t).all()) for t in found.values()):
            raise UnsafeFile(f"{FILE} holds values that are not finite", where=where, remedy="Export again")
        golden, steps = found.pop("golden.images").numpy(), found.pop("golden.steps").numpy()
        network.load_state_dict(found, assign=True)
        return cls(network.eval(), beta, entry["sees"], golden, settings), steps


def _built(entry: Mapping[str, Any]) -> StepPolicy:
    shape, channels, lengths, n = (entry[name] for name in ("shape", "channels", "lengths", "n_timesteps"))
    numbers = [n, *shape, *channels, *lengths]
    if not all(type(x) is int and 1 <= x <= 2**16 for x in numbers) or len(shape) != 3 or not 1 <= len(channels) <= 16:
        raise ValueError("shape, n_timesteps, channels or lengths")
    if sorted(set(lengths)) != lengths or not lengths or lengths[-1] != n:
        raise ValueError(f"lengths {lengths} up to {n}")
    return StepPolicy((shape[0], shape[1], shape[2]), n, channels, lengths)


def golden_steps_error(policy: PlannedPolicy, kept: IntArray, where: str) -> Mismatch | None:
    """What is wrong where the network decides otherwise than its file says; a tie to within `NEAR` counts as equal."""
    logits: NDArray[np.float32] = np.sort(policy.network.logits(policy.golden), axis=1)
    tied = logits[:, -1] - logits[:, -2] < NEAR if logits.shape[1] > 1 else np.zeros(len(logits), dtype=bool)
    found = policy.steps(policy.golden)
    wrong = np.flatnonzero((found != kept) & ~tied)
    if not len(wrong):
        return None
    first = int(wrong[0])
    return Mismatch(
        f"{FILE} lets sample {first} run {found[first]} timesteps, and was written to let it run {kept[first]}", where=where,
        limit=f"{len(wrong)} of {len(kept)} decisions differ", code="policy_mismatch", remedy="Export again",
    )
