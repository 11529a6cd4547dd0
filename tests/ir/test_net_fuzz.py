"""Damaged `.net` files end in a network or in one clear error, never in anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from neurodeploy.ir.net import write_net
from tests.ir.netx_graphs import random_graph

import net_fuzz
import oracles


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Files by lava-dl's own layout and by us: dense, conv, delays, loops, sigma-delta."""
    folder = tmp_path_factory.mktemp("bases")
    for seed in range(6):
        write_net(random_graph(seed), folder / f"{seed}.net")
    recorded = sorted((oracles.GOLDEN / "loihi").glob("*.net"))
    assert recorded
    return [path.read_bytes() for path in (*recorded, *sorted(folder.glob("*.net")))]


def test_sound_files_are_read(bases: list[bytes], tmp_path: Path) -> None:
    for data in bases:
        (tmp_path / "sound.net").write_bytes(data)
        assert net_fuzz.outcome(tmp_path / "sound.net") == "read"


def test_mutations(bases: list[bytes], tmp_path: Path) -> None:
    counts = net_fuzz.run(bases, range(400), tmp_path)
    assert sum(counts.values()) == 400
    assert counts["read"] > 20 and counts["refused"] > 100
    assert set(counts) <= {"read", "refused", "refused: the reader crashed", "refused: out of time or memory"}
