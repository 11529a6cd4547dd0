"""Where the packaged profiles, recipes and reference bundles are, in a wheel or in the checkout; which packages are missing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from neurodeploy.errors import EnvironmentMissing, NeurodeployError

_PACKAGE = Path(__file__).resolve().parent

# What is imported, and the name under which an index has it: the dependencies of pyproject.toml.
NEEDED = {
    **{name: name for name in ("torch", "numpy", "numba", "h5py", "nir", "optuna", "typer", "rich", "pydantic", "safetensors",
                               "onnx", "onnxruntime", "matplotlib")}, "PIL": "pillow",
}  # fmt: skip


def missing_packages() -> EnvironmentMissing | None:
    """The error of a checkout that runs where not all packages are; None where they are."""
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if not missing:
        return None
    return EnvironmentMissing(
        f"Python packages are missing: {', '.join(missing)}", where="neurodeploy", code="packages_missing",
        remedy=f"Run pip install {' '.join(missing)}; without a package index, carry their wheels there (docs/training.md)",
    )


def folder(name: str) -> Path:
    """Path of a packaged top-level folder (`hw_profiles`, `searches` or `exports`).

    A wheel carries them under `neurodeploy/_data/`; an editable install sees them beside the package.
    """
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise NeurodeployError(
        f"the packaged folder {name!r} is missing", where=str(_PACKAGE), remedy="Reinstall neurodeploy"
    )
