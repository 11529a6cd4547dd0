"""The one hard limit of a GPU: weights, states and activations of a batch in its memory.

    bytes = width * (weights + batch * (states + activations * (timesteps, in the unrolled form)))

Every layer's output is counted, since the exported forms return the spikes of all layers; what a runtime keeps besides, its
work space and the program itself, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.cost.gpu_cost import asked_precision, check_asked
from neurodeploy.cost.gpu_time import Form
from neurodeploy.cost.gpu_work import LayerWork
from neurodeploy.errors import Violation
from neurodeploy.hw.gpu_profile import VALUE_BYTES, GpuProfile, Precision


def memory_needed(work: Sequence[LayerWork], n_timesteps: int, *, batch: int, precision: Precision, form: Form) -> int:
    """Bytes of one inference of a batch."""
    weights, each = _values(work, n_timesteps, form)
    return VALUE_BYTES[precision] * (weights + batch * each)


def memory_violations(
    work: Sequence[LayerWork], profile: GpuProfile, n_timesteps: int, *, batch: int = 1, precision: Precision | None = None,
    form: Form = "unrolled",
) -> tuple[Violation, ...]:
    """The limit as it is broken, or nothing; the remedy names the largest batch that fits."""
    chosen = asked_precision(profile, precision)
    check_asked(work, n_timesteps, batch, form)
    holds = int(profile.capacity.memory.si[1])
    needed = memory_needed(work, n_timesteps, batch=batch, precision=chosen, form=form)
    if needed <= holds:
        return ()
    weights, each = _values(work, n_timesteps, form)
    largest = (holds // VALUE_BYTES[chosen] - weights) // max(1, each)
    widest = max(work, key=lambda w: w.n_weights + batch * (w.n_state + w.n_written))
    remedy = f"Use a batch of at most {largest}" if largest > 0 else "Use a smaller network"
    if largest > 0 and form == "unrolled" and n_timesteps > 1:
        remedy += ", or the step form, which holds one timestep"
    return (
        Violation(
            "gpu_memory", widest.name,
            f"a batch of {batch} over {n_timesteps} timesteps needs {needed / 1e9:.3g} GB in {chosen}, most of it there",
            f"{profile.name} has {holds / 1e9:g} GB", remedy,
        ),
    )  # fmt: skip


def _values(work: Sequence[LayerWork], n_timesteps: int, form: Form) -> tuple[int, int]:
    """(values of the weights, values of each sample)."""
    held = n_timesteps if form == "unrolled" else 1
    return sum(w.n_weights for w in work), sum(w.n_state + w.n_written * held for w in work)
