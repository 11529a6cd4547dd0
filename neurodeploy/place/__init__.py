"""Cores for neurons: the target's rules, the partition into cores, their sites on the network on chip."""

from neurodeploy.place.assign import derive
from neurodeploy.place.fit import Check, System, check, place, suggest
from neurodeploy.place.placement import Core, Placement
from neurodeploy.place.utilisation import Utilisation, utilisation

__all__ = ["Check", "Core", "Placement", "System", "Utilisation", "check", "derive", "place", "suggest", "utilisation"]
