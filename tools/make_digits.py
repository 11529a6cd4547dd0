"""Writes neurodeploy/data/digits.npz from scikit-learn's copy: `python tools/make_digits.py`, then update SHA256.

Run once; the file is part of the package. The splits are stored so that no later release can move a sample from
test to train.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from neurodeploy.data import splits
from sklearn.datasets import load_digits

TARGET = Path(__file__).resolve().parent.parent / "neurodeploy" / "data" / "digits.npz"


def main() -> None:
    digits = load_digits()
    y = digits.target.astype(np.uint8)
    parts = {name: index.astype(np.uint16) for name, index in splits.stratified(y).items()}
    np.savez_compressed(TARGET, x=digits.images.astype(np.uint8), y=y, n_levels=np.int64(17), **parts)
    sys.stdout.write(f"{TARGET.name} {hashlib.sha256(TARGET.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main()
