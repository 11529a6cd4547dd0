"""Training on two processes, as torchrun starts them: the outcome of one, one voice, and a clear end where one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import train_cases as cases
from neurodeploy import commands
from neurodeploy.cli.main import main
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.models.shared_norm import shared_norm
from neurodeploy.train import launch, ranks
from neurodeploy.train.trainer import Trainer
from tests.tiny_search import write_dataset, write_recipe
from torch import nn

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "train")])
ARCH = "skip,SCB_k3,skip,skip,SCB_k3"
TRAININGS = """
import sys
import numpy as np, torch
import train_cases as cases
from neurodeploy.models.autosnn import BLOCKS, SuperNet
from neurodeploy.models.qcfs import Qcfs
from neurodeploy.train import ranks
from neurodeploy.train.ann2snn import train_ann
from neurodeploy.train.loop import train
from neurodeploy.train.supernet import train_supernet
from torch import nn

(x, y), (vx, vy) = cases.digits(83)
x, vx = x.astype(np.float64), vx.astype(np.float64)  # so that rounding flips no spike
config = cases.CONFIG.model_copy(update={"lr": 0.03, "batch_size": 21, "shift": 0, "rotate": 0, "crop": 1, "flip": True})
with ranks.joined() as here:
    net = cases.network().double()
    torch.manual_seed(0)
    ann = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), Qcfs(4), nn.Flatten(), nn.Linear(144, 10)).double()
    supernet = SuperNet(cases.MACRO).double()
    found = train(net, (x, y), (vx, vy), config, seed=1)
    log = train_supernet(supernet, (x, y), config, (BLOCKS,) * 5, seed=1)
    other = train_ann(ann, (x, y), (vx, vy), config.model_copy(update={"loss": "ce"}), seed=1)
    torch.save({
        "weights": [net.state_dict(), supernet.state_dict(), ann.state_dict()], "spikes": [s.spikes_paper for s in log.log],
        "losses": [*(e.train_loss for e in found.history), *log.losses, *(e.train_loss for e in other.history)],
        "best": found.best.epoch,
    }, f"{sys.argv[1]}/{here.n}-{here.rank}.pt")
"""
COMMAND_LINE = """
import os, pathlib, sys
from neurodeploy.cli.main import run
from neurodeploy.train import loop
loop.train.__kwdefaults__["checkpoint_interval_s"] = 0  # at every epoch
pathlib.Path(sys.argv.pop(1), os.environ["RANK"]).write_text(str(os.getpid()))
run()
"""


def torchrun(script: Path, *args: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    return subprocess.Popen([*command, *map(str, args)], env=environment, cwd=script.parent, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "trainings.py"
    script.write_text(TRAININGS)
    process = torchrun(script, tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    environment = {**os.environ, "PYTHONPATH": PATH}
    subprocess.run([sys.executable, str(script), str(tmp_path)], env=environment, check=True, timeout=120)
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    for one, two, three in zip(alone["weights"], first["weights"], second["weights"], strict=True):
        for name, value in one.items():
            # sums of float64 in another order, over a dozen steps; weights move by 0.03 a step
            torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-9)
            assert torch.equal(two[name], three[name]), name
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=1e-9)
    np.testing.assert_allclose(first["spikes"], alone["spikes"], rtol=1e-12)
    assert first["losses"] == second["losses"] and first["best"] == alone["best"] and min(alone["spikes"]) > 0


def test_a_killed_process_ends_the_other_with_one_error_and_the_run_resumes(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_dataset(tmp_path))
    script, out = tmp_path / "cli.py", tmp_path / "run"
    script.write_text(COMMAND_LINE)
    asked = ["train", "--recipe", recipe, "--arch", ARCH, "--out", out, "--set", "train.epochs=120"]
    process = torchrun(script, tmp_path, *asked)
    while not (out / "model.ckpt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and printed == ""
    said = [line for line in errors.splitlines() if line.startswith("Error")]
    assert len(said) == 1 and "another process of this training has ended" in said[0] and "same command again" in said[0]
    assert not (out / "model.safetensors").exists()
    found = commands.train(str(recipe), ARCH, out=out, overrides={"train.epochs": 120})
    assert found.model.is_file() and found.accuracy > 0.4  # three classes


def test_a_search_trains_on_both_and_speaks_once(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, write_dataset(tmp_path), budget=2)
    script = tmp_path / "cli.py"
    script.write_text(COMMAND_LINE)
    small = [part for text in ("network.layout=[1,0,2,0]", "supernet.epochs=4", "train.epochs=12", "train.lr=0.03")
             for part in ("--set", text)]
    process = torchrun(script, tmp_path, "search", "--recipe", recipe, "--out", tmp_path / "run", "--json", *small)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    data = json.loads(printed)["data"]  # one object: of the first process
    assert data["n_evaluated"] == 2 and (tmp_path / "run" / "bundle" / "manifest.json").is_file()
    assert commands.search(resume=tmp_path / "run").data["best"] == data["best"]


def test_parts_of_a_batch_are_all_of_it_and_alone_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for n, size in ((2, 7), (3, 3), (4, 10)):
        parts = [list(range(size))[ranks.Ranks(rank, n).part(size)] for rank in range(n)]
        assert [i for part in parts for i in part] == list(range(size)) and max(map(len, parts)) - min(map(len, parts)) <= 1
    alone = ranks.current()
    assert (alone.n, alone.part(5), alone.shared({"a": 1}), alone.is_first) == (1, slice(0, 5), {"a": 1}, True)
    assert launch.place() is None
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launch.place() is None  # somebody else's
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    assert launch.place() == launch.Place(1, 2, 1)
    with launch.for_itself():
        assert launch.place() is None
    assert launch.place() is not None


def test_shared_norm_alone_is_batch_norm() -> None:
    x = torch.randn(6, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1
    for momentum in (0.1, None):
        ours, theirs = (nn.BatchNorm2d(3, momentum=momentum).double() for _ in range(2))
        for norm in (ours, theirs):
            nn.init.uniform_(norm.weight, 0.5, 2.0, generator=torch.Generator().manual_seed(1))
        for step in range(2):
            a, b = ((x + step).clone().requires_grad_() for _ in range(2))
            y, z = shared_norm(ours, a, lambda value: value), theirs(b)
            (y * x.sin()).sum().backward()
            (z * x.sin()).sum().backward()
            of_norms = zip((p.grad for p in ours.parameters()), (p.grad for p in theirs.parameters()), strict=True)
            for one, two in ((y, z), (a.grad, b.grad), *of_norms):
                torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)  # the same sums in another order
        for one, two in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_norms_of_other_kinds_and_batches_too_small_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="1: a BatchNorm1d"), ranks.Ranks(0, 2).shared_norms(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ):
        pass
    monkeypatch.setattr(ranks, "_current", ranks.Ranks(0, 3))
    with ranks.alone():
        assert ranks.current().n == 1
    assert ranks.current().n == 3
    trainer = Trainer(cases.network(), cases.CONFIG.model_copy(update={"batch_size": 2}), 0, torch.device("cpu"), 2)
    with pytest.raises(UsageError, match="batches of 2 images for 3 processes"):
        trainer.epoch(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), trainer.module)


def test_other_commands_and_lost_processes_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in zip(launch._NAMES, ("0", "2", "0", "localhost", "1", "x"), strict=True):
        monkeypatch.setenv(name, value)
    assert main(["targets", "list"], sys.stdout) == 2
    assert "torchrun has started 2 processes" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main(["targets", "list"], sys.stdout) == 2
    assert capsys.readouterr() == ("", "")

    def broken(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_reduce", broken)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(NeurodeployError, match="another process"):
            ranks.Ranks(0, 2).total(torch.ones(1))
    finally:
        signal.signal(signal.SIGTERM, before)
