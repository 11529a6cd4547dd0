"""The configuration of the chip for a placed network of integers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from neurodeploy.errors import DoesNotFit, NeurodeployError, UsageError
from neurodeploy.hw.event_profile import EventProfile
from neurodeploy.ir.event_layers import CoreLayer, read_cores
from neurodeploy.ir.event_layers import Destination as Connection
from neurodeploy.ir.graph import IntGraph
from neurodeploy.ir.nodes import Iaf
from neurodeploy.lower import event_rules
from neurodeploy.place import dynapcnn_rules
from neurodeploy.place.core_memory import CoreMemory
from neurodeploy.place.core_plan import CorePlan
from neurodeploy.place.dynapcnn_config import ChipConfig, ChipLimits, CnnLayer, Destination
from neurodeploy.place.dynapcnn_strict import STRICT

STRICT_RULES = frozenset(STRICT) - {"weight_over_threshold"}  # asked of every configuration; that one is a warning


def limits_of(profile: EventProfile) -> ChipLimits:
    """What a configuration is checked against, from the profile."""
    c, a = profile.capacity, profile.arithmetic
    words = zip(c.kernel_words.values, c.neuron_words.values, c.bias_words.values, strict=True)
    return ChipLimits(
        cores=tuple(CoreMemory(*core) for core in words), weight_bits=a.weight_bits, bias_bits=a.bias_bits,
        state_bits=a.state_bits, byte_bits=a.byte_bits, count_bits=a.count_bits, max_kernel=c.kernel_size_max.count,
        strides=c.strides.values, max_padding=c.padding_max.count, max_input_size=c.input_size_max.count,
        max_output_size=c.output_size_max.count, max_channels=c.channels_max.count,
        accepted_poolings=c.poolings_accepted.values, poolings=c.poolings.values,
        max_feature_shift=c.feature_shift_max.count, n_destinations=c.destinations_per_core.count,
        dvs_size=profile.sensor.size.count, dvs_poolings=profile.sensor.poolings.values,
    )


def configuration(
    net: IntGraph, plan: CorePlan, profile: EventProfile, *, monitored: Collection[str] | None = None
) -> ChipConfig:
    """Every core that the plan uses, as the vendor's validator accepts it; the sensor is left alone.

    `monitored` names layers whose spikes are sent to the host, by default those that the network ends with. Raises
    DoesNotFit for what the chip cannot do, UsageError for a layer that does not exist or a plan of another target.
    """
    if plan.target != profile.name:
        raise UsageError(f"a placement on {plan.target}", where=profile.name, remedy="Place the network on this target")
    network = read_cores(net)
    found = event_rules.violations(network, profile)
    if found:
        raise DoesNotFit(event_rules.merged(found), target=profile.name)
    watched = set(network.outputs if monitored is None else monitored)
    unknown = sorted(watched - {layer.name for layer in network.layers})
    if unknown:
        raise UsageError(f"no layer {', '.join(unknown)} to monitor",
                         limit=f"Layers: {', '.join(layer.name for layer in network.layers)}")
    lowest = -(2 ** (profile.arithmetic.state_bits - 1))
    config = ChipConfig({plan.core_of(n.name): _core(n, plan, n.name in watched, lowest) for n in network.layers})
    refused = dynapcnn_rules.check(config, limits_of(profile), strict=STRICT_RULES)
    if refused:
        raise DoesNotFit(refused, target=profile.name)
    return config


def input_cores(net: IntGraph, plan: CorePlan) -> tuple[Destination, ...]:
    """Where the input's events go: core, pool and first channel. A pool per axis that differs is the sensor's to make."""
    return tuple(_destination(d, plan) for d in read_cores(net).entry_destinations)


def _core(layer: CoreLayer, plan: CorePlan, monitored: bool, lowest: int) -> CnnLayer:
    neuron = layer.neuron
    if not isinstance(neuron, Iaf):
        raise NeurodeployError("neurons in real numbers", where=layer.name, code="bad_node", remedy="Quantize the network")
    bias = np.zeros(layer.out_shape[0], dtype=np.int64) if layer.bias is None else layer.bias.astype(np.int64)
    return CnnLayer(
        in_shape=layer.in_shape, out_shape=layer.out_shape, kernel_size=layer.kernel[0], stride=layer.stride,
        padding=layer.padding, weights=layer.weight.astype(np.int64), biases=bias,
        initial_state=np.broadcast_to(neuron.v_init, neuron.shape).reshape(layer.out_shape).astype(np.int64),
        threshold_high=neuron.v_th, threshold_low=lowest if neuron.v_min is None else neuron.v_min,
        return_to_zero=neuron.reset == "hard", leak_enable=bool(bias.any()), monitor_enable=monitored,
        destinations=tuple(_destination(d, plan) for d in layer.destinations),
    )


def _destination(connection: Connection, plan: CorePlan) -> Destination:
    return Destination(plan.core_of(connection.layer), True, max(connection.pool), connection.feature_shift)
