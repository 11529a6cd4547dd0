"""From a real-valued network to a bundle for GPUs: ONNX forms, golden vectors and the script that plays them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx

from neurodeploy.early_exit.confidence import ConfidencePolicy
from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import UsageError
from neurodeploy.export.bundle import Bundle, write_manifest, written_whole
from neurodeploy.export.golden_gpu import GOLDEN, GoldenGpu, record_gpu, save_gpu
from neurodeploy.export.onnx_forms import FORMS, IR_VERSION, OPSET, prepared, step_states, to_bytes
from neurodeploy.export.write import NIR, OWN_FIELDS, tool_versions, write_model_nir, write_policy
from neurodeploy.hw.profile import GpuProfile
from neurodeploy.ir.graph import Graph
from neurodeploy.ir.nodes import Array
from neurodeploy.ir.serialize import save
from neurodeploy.sim.gpu_input import latency, n_steps

GRAPH = "graph.npz"
FILES = {form: f"model_{form}.onnx" for form in FORMS}
_SCRIPT = Path(__file__).with_name("run_on_gpu.py")


def export_gpu(
    graph: Graph, profile: GpuProfile, out: Path, *, golden_inputs: Array, metadata: dict[str, Any],
    policy: ConfidencePolicy | PlannedPolicy | None = None,
) -> Bundle:
    """Write a bundle to the folder `out`, whole or not at all; an older bundle there is replaced.

    golden_inputs: float x [T, B, *input shape] of some samples. metadata: plain values for the manifest; `data`, `seed` and
    `accuracy` get places of their own. policy: when a sample may stop early, None where it may not. Raises UsageError when
    `out` cannot be written, and naming a node that has no ONNX form.
    """
    graph = prepared(graph)
    if isinstance(policy, PlannedPolicy) and len(policy.golden) < golden_inputs.shape[1]:
        raise UsageError(f"{golden_inputs.shape[1]} golden inputs, and the policy's views of {len(policy.golden)} samples",
                         where="early-exit policy", limit="The first of its golden views are those of the golden inputs")
    golden = record_gpu(graph, golden_inputs)
    with written_whole(Path(out)) as folder:
        save(graph, folder / GRAPH)
        for form, write in FORMS.items():
            payload = to_bytes(write(graph))
            onnx.checker.check_model(payload, full_check=True)
            (folder / FILES[form]).write_bytes(payload)
        reason = write_model_nir(graph, folder / NIR)
        save_gpu(golden, folder / GOLDEN)
        write_policy(policy, folder)
        shutil.copyfile(_SCRIPT, folder / f"run_on_{profile.name}.py")
        nir = {"nir": {"file": NIR if reason is None else None, "reason": reason}}
        write_manifest(folder, {**_describe(graph, profile, golden, metadata, policy), **nir})
    return Bundle(Path(out))


def _describe(
    graph: Graph, profile: GpuProfile, golden: GoldenGpu, metadata: dict[str, Any],
    policy: ConfidencePolicy | PlannedPolicy | None,
) -> dict[str, Any]:
    entry = graph.inputs[0]
    return {
        "target": profile.name,
        "profile": {"digest": profile.digest, "content": profile.model_dump(mode="json")},
        **{name: metadata.get(name) for name in OWN_FIELDS},
        "early_exit": None if policy is None else policy.to_dict(),
        "metadata": {k: v for k, v in metadata.items() if k not in OWN_FIELDS},
        "input": {
            "name": entry.name, "kind": entry.kind, "shape": list(entry.shape), "max_value": entry.max_value,
            "value_scale": entry.value_scale, "encoding": graph.metadata.get("encoding"),
        },
        "n_timesteps": graph.n_timesteps,
        "n_steps": n_steps(graph),
        "latency": latency(graph),
        "artifact": FILES["step"],
        "onnx": {"files": FILES, "opset": OPSET, "ir_version": IR_VERSION, "states": [s.to_dict() for s in step_states(graph)],
                 "layers": [n.name for n in graph.order if n.is_neuron]},
        "quantization": None,
        "placement": None,
        "golden": {"n_samples": int(golden.x.shape[1]), "n_spikes": golden.n_spikes},
        "versions": {**tool_versions(), "onnx": onnx.__version__},
    }
