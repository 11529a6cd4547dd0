"""Vendor tools, each in a side environment of its own: made, found, and spoken to through files."""

from neurodeploy.vendor.environments import Environment, add, environments, find, remove
from neurodeploy.vendor.locks import Lock, lock_named, lock_of_tool, locks
from neurodeploy.vendor.making import create, planned

__all__ = [
    "Environment", "Lock", "add", "create", "environments", "find", "lock_named", "lock_of_tool", "locks", "planned", "remove",
]
