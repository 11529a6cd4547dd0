"""Ten thousand damaged `.net` files: outcomes, time and peak memory.

    python benchmarks/fuzz_net.py [N]

Each file is read by a process of its own, forked instead of started, under the limits that strangers' files have.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from neurodeploy.ir.net import write_net  # noqa: E402
from tests.ir.netx_graphs import random_graph  # noqa: E402

import net_fuzz  # noqa: E402
import oracles  # noqa: E402


def main(n: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(6):
            write_net(random_graph(seed), folder / f"{seed}.net")
        files = [*sorted((oracles.folder("loihi")).glob("*.net")), *sorted(folder.glob("*.net"))]
        bases = [path.read_bytes() for path in files]
        sizes = f"{min(map(len, bases)) / 1e3:.0f} to {max(map(len, bases)) / 1e3:.0f} kB"
        start = time.perf_counter()
        counts = net_fuzz.run(bases, range(n), folder)
        seconds = time.perf_counter() - start
    print(f"{n} mutations of {len(bases)} files ({sizes}) in {seconds:.0f} s, {1e3 * seconds / n:.1f} ms each")
    for what, count in counts.most_common():
        print(f"  {what}: {count}")
    for who, of in (("this process", resource.RUSAGE_SELF), ("largest reader", resource.RUSAGE_CHILDREN)):
        print(f"  peak memory of {who}: {resource.getrusage(of).ru_maxrss / 1024:.0f} MB")
    print("  no other error, no crash, no hang")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
