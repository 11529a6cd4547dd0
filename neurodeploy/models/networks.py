"""The networks that are trained here, whichever family they are of: one name for them, and their graphs."""

from __future__ import annotations

from dataclasses import replace

from neurodeploy.ir.graph import Graph
from neurodeploy.models import convert, snas_convert
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.snasnet import SnasNet

Network = AutoSnn | SnasNet


def to_graph(network: Network) -> Graph:
    """Its float Graph in evaluation mode; raises as `convert.to_graph` and `snas_convert.to_graph`."""
    return snas_convert.to_graph(network) if isinstance(network, SnasNet) else convert.to_graph(network)


def of_width(network: Network, width: int) -> Network:
    """One like it of another width, with weights of its own."""
    if isinstance(network, SnasNet):
        return SnasNet(replace(network.config, width=width), network.arch)
    return AutoSnn(replace(network.config, width=width), network.arch)
