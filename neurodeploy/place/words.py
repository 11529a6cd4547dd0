"""Synapse memory: how many words of a core's memory the synapses of a group take.

Profile entry `partition`, fitted on Intel's public compiler tables. A reading of our own, because no public table has a
delayed layer: a synapse with a delay stores it in as many bits as the group's longest delay needs (6 for 62 timesteps),
beside its weight; a delay that an edge adds for the whole group counts like one of every synapse.
"""

from __future__ import annotations

from neurodeploy.hw.profile import Profile
from neurodeploy.ir.nodes import Linear
from neurodeploy.place.layers import SynapseGroup


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def word_limit(profile: Profile) -> int:
    """Synapse words of a core: what it has, and what the chosen compiler fills."""
    return min(profile.capacity.synapse_words_per_core.count, profile.partition.synapse_words)


def delay_bits(group: SynapseGroup, profile: Profile) -> int:
    """Bits a synapse that its delay takes beyond the timesteps that every synapse of the chip needs."""
    longest = max(0, group.delay - profile.arithmetic.synapse_latency)
    delays = group.synapse.delays if isinstance(group.synapse, Linear) else None
    if delays is not None and delays.size:
        longest += int(delays.max())
    return longest.bit_length()


def n_words(group: SynapseGroup, n_neurons: int, profile: Profile) -> int:
    """Synapse words of a group on one core that holds `n_neurons` of a vector, or that many channels of a map."""
    part, word = profile.partition, profile.capacity.synapse_word_bits.count
    weight, extra = group.synapse.weight, delay_bits(group, profile)
    if group.is_dense:
        return group.n_sources * ceil_div((part.dense_synapse_bits + extra) * n_neurons + part.dense_axon_bits, word)
    rows = int(weight.shape[1] * weight.shape[2] * weight.shape[3])
    return rows * ceil_div(n_neurons * (part.conv_weight_bits + extra) + part.conv_overhead_bits, word)
