"""From a placed integer network of an event-driven chip to a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurodeploy.early_exit.planned import PlannedPolicy
from neurodeploy.errors import DoesNotFit, UsageError
from neurodeploy.export.bundle import Bundle, write_manifest, written_whole
from neurodeploy.export.golden_events import GoldenEvents, record_events
from neurodeploy.export.speck import write_artifacts
from neurodeploy.export.write import NIR, OWN_FIELDS, tool_versions, write_model_nir, write_policy
from neurodeploy.hw.profile import EventProfile
from neurodeploy.ir.graph import Graph, IntGraph
from neurodeploy.ir.nodes import Array
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_rules import check as check_config
from neurodeploy.place.event_cores import configuration, limits_of
from neurodeploy.quantize.passing import for_target
from neurodeploy.quantize.report import as_given


def export_events(
    net: IntGraph, plan: CorePlan, profile: EventProfile, out: Path, *, golden_streams: Sequence[Array],
    metadata: dict[str, Any], lowered: Graph | None = None, padded: bool = False,
    policy: PlannedPolicy | None = None,
) -> Bundle:
    """Write a bundle to the folder `out`, whole or not at all; an older bundle there is replaced.

    golden_streams: input events (t in microseconds, c, y, x) of some samples. metadata: plain values for the manifest; `data`,
    `seed`, `accuracy` and `early_exit` get places of their own. padded: output channels spread out for the chip's readout
    block. policy: SEENN-II's, whose file goes with it. Raises UsageError as `export.write.export`, DoesNotFit where the
    vendor's rules refuse the configuration.
    """
    if plan.target != profile.name:
        raise UsageError(f"the placement was made for {plan.target!r}", limit=f"Exporting to {profile.name}",
                         remedy="Place the network on this target")
    net = for_target(net, profile)
    config = configuration(net, plan, profile)
    refused = check_config(config, limits_of(profile))
    if refused:
        raise DoesNotFit(refused, target=profile.name)
    golden = record_events(net, golden_streams)
    with written_whole(Path(out)) as folder:
        artifacts = write_artifacts(net, plan, profile, config, folder, golden=golden, padded=padded)
        reason = write_model_nir(net if lowered is None or isinstance(lowered, IntGraph) else lowered, folder / NIR)
        write_policy(policy, folder)
        nir = {"nir": {"file": NIR if reason is None else None, "reason": reason}}
        write_manifest(folder, {**_describe(net, plan, profile, golden, metadata), **artifacts, **nir})
    return Bundle(Path(out))


def _describe(
    net: IntGraph, plan: CorePlan, profile: EventProfile, golden: GoldenEvents, metadata: dict[str, Any]
) -> dict[str, Any]:
    entry = net.inputs[0]
    return {
        "target": profile.name,
        "profile": {"digest": profile.digest, "content": profile.model_dump(mode="json")},
        **{name: metadata.get(name) for name in OWN_FIELDS},
        "metadata": {k: v for k, v in metadata.items() if k not in OWN_FIELDS},
        "input": {"name": entry.name, "kind": "events", "shape": list(entry.shape), "columns": ["t_us", "c", "y", "x"]},
        "n_timesteps": net.n_timesteps,
        "quantization": as_given(net),
        "placement": plan.to_dict(),
        "golden": {"n_samples": golden.n_samples, "n_spikes": golden.n_spikes},
        "versions": tool_versions(),
    }
