"""Where the packaged profiles, recipes and reference bundles are: in a wheel, or in the checkout."""

from __future__ import annotations

from pathlib import Path

from neurodeploy.errors import NeurodeployError

_PACKAGE = Path(__file__).resolve().parent


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
