"""The fixtures of AutoSNN's released search."""

from pathlib import Path

import oracles


def released_searches() -> list[Path]:
    """Every fixture of the kind: candidate order, fitness cases and runs with a stub evaluator."""
    found = sorted(oracles.folder("seeds").glob("*_search.json"))
    oracles.require(found, "*_search.json", "seeds")
    return found


def golden_search() -> Path:
    """The project's own copy, for tests that only need its stub evaluator."""
    return oracles.GOLDEN / "seeds" / "autosnn_search.json"
