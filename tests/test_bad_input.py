"""What cannot be done is refused: one clear error, its exit code, no traceback, nothing half written."""

from __future__ import annotations

import io
import pickle
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neurodeploy.models.autosnn import AutoSnn
from neurodeploy.models.files import load_module, save
from neurodeploy.models.macro import MacroConfig
from neurodeploy.train.checkpoint import save as save_checkpoint

import strangers
from commands import run, run_json
from oracles import GOLDEN
from tiny_search import Tiny, write_recipe

BLOCKS = ("SCB_k3", "skip_connect", "skip_connect", "skip_connect", "skip_connect")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that a default output folder would be seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(*folders: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for folder in folders for p in (folder, *folder.rglob("*")) if p.exists()
    }


def refused(
    capsys: pytest.CaptureFixture[str], code: int, *args: str | Path, unchanged: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """The one error of a command that must fail, as JSON; checks the plain form and that nothing was written."""
    texts = [str(a) for a in args]
    before = listing(Path.cwd(), *unchanged)
    capsys.readouterr()
    assert run(*texts)[0] == code
    said = capsys.readouterr().err
    assert "Traceback" not in said and "internal" not in said and "This is a bug" not in said
    assert said.count("Error: ") == 1, said
    found, answer = run_json(*texts)
    assert found == code and not answer["ok"]
    (error,) = answer["errors"]
    assert error["what"] and error["code"] != "internal"
    assert error["where"] or error["remedy"] or error["limit"], "it must say where, how much or what to do"
    assert listing(Path.cwd(), *unchanged) == before, "something was written"
    return dict(error)


Refused = pytest.CaptureFixture[str]


def test_unknown_target(tiny: Tiny, capsys: Refused) -> None:
    for command in (("search", "--recipe", tiny.recipe), ("check", tiny.model), ("export", tiny.model), ("energy", tiny.model)):
        error = refused(capsys, 2, *command, "--target", "loihi7")
        assert "loihi7" in error["what"] and "loihi2" in error["limit"] + error["remedy"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [("[evolution]", "[evolution]\nbugdet = 3"), ("budget = 8", "budget = 0"), ("width = 4", "width = 0"),
     ("chance_margin = 0.0", "chance_margin = -0.1"), ('name = "tiny"', "name = tiny"), ("lr = 0.01", 'lr = "fast"')],
)  # fmt: skip
def test_recipes_that_are_wrong(tiny: Tiny, tmp_path: Path, capsys: Refused, line: str, wrong: str) -> None:
    text = tiny.recipe.read_text()
    assert line in text
    (tmp_path / "wrong.toml").write_text(text.replace(line, wrong))
    error = refused(capsys, 2, "search", "--recipe", tmp_path / "wrong.toml", "--target", "loihi2")
    assert wrong.split("\n")[-1].split(" = ")[0] in error["what"] + error["limit"] + error["where"] or "TOML" in error["what"]


@pytest.mark.parametrize(
    "options",
    [("--budget", "0"), ("--budget", "-3"), ("--budget", "many"), ("--seed", "-1"), ("--workers", "0"),
     ("--set", "evolution.bugdet=4"), ("--set", "evolution.budget=0"), ("--set", "nonsense"),
     ("--set", "profile.energy.synaps.value=3"), ("--method", "luck"),
     ("--recipe", "nosuch"), ("--recipe", "nosuch.toml"), ("--unknown",)],
)  # fmt: skip
def test_options_that_are_wrong(tiny: Tiny, capsys: Refused, options: tuple[str, ...]) -> None:
    recipe = () if "--recipe" in options else ("--recipe", tiny.recipe)
    refused(capsys, 2, "search", "--target", "loihi2", *recipe, *options)


def test_a_dataset_that_is_missing(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    recipe = write_recipe(tmp_path, "nowhere.npz")
    for command in (
        ("search", "--target", "loihi2", "--recipe", recipe),
        ("train", "--recipe", recipe, "--arch", "skip,skip,skip,skip,skip"),
        ("export", tiny.model, "--target", "loihi2", "--data", "nowhere.npz"),
        ("energy", tiny.model, "--target", "loihi2", "--data", "nowhere.npz"),
        ("validate", tiny.bundle, "--data", "nowhere.npz"),
    ):
        assert "nowhere.npz" in refused(capsys, 2, *command, unchanged=(tiny.run_dir,))["what"]


def test_data_of_another_shape(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    y = np.arange(30) % 3
    np.savez(tmp_path / "wide.npz", x=np.zeros((30, 9, 8), np.uint8), y=y)
    np.savez(tmp_path / "more.npz", x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 4)
    for file in ("wide.npz", "more.npz"):
        for command in (("export", tiny.model, "--target", "loihi2"), ("energy", tiny.model, "--target", "loihi2"),
                        ("validate", tiny.bundle)):
            error = refused(capsys, 2, *command, "--data", tmp_path / file, unchanged=(tiny.run_dir,))
            assert file in error["where"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def damaged_models(tiny: Tiny, folder: Path) -> Iterator[Path]:
    whole = tiny.model.read_bytes()
    for name, payload in {
        "empty": b"", "truncated": whole[:-7], "half": whole[: len(whole) // 2], "header": whole[:20], "longer": whole + b"x",
        "foreign": b"GIF89a" + bytes(500), "text": b"hello\n" * 99, "pickled": pickle.dumps(Evil()),
    }.items():  # fmt: skip
        for suffix in (".safetensors", ".pt", ".nir", ".npz"):
            (folder / f"{name}{suffix}").write_bytes(payload)
            yield folder / f"{name}{suffix}"
    torch.save({"schema_version": 1, "arch": Evil(), "state_dict": {}}, folder / "code.pt")
    yield folder / "code.pt"
    np.savez(folder / "arrays.npz", x=np.zeros(3))
    yield folder / "arrays.npz"
    with zipfile.ZipFile(folder / "zip.pt", "w") as archive:
        archive.writestr("nothing", "")
    yield folder / "zip.pt"
    (folder / "network.net").write_bytes(whole)
    yield folder / "network.net"


def test_model_files_that_are_damaged_or_foreign(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    (tmp_path / "models").mkdir()
    files = list(damaged_models(tiny, tmp_path / "models"))
    assert len(files) > 30
    for file in files:
        error = refused(capsys, 6, "check", file, "--target", "loihi2")
        assert file.name in error["where"], file
    for command in ("export", "energy"):
        refused(capsys, 6, command, files[1], "--target", "loihi2")
    assert not Path("executed").exists()


@pytest.mark.parametrize("args", [("nowhere.safetensors",), ("model.txt",), ("bare.pt",), (".",)])
def test_models_that_are_none(tmp_path: Path, capsys: Refused, args: tuple[str, ...]) -> None:
    (tmp_path / "model.txt").write_text("")
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "bare.pt")
    for command in ("check", "export", "energy"):
        refused(capsys, 2, command, *args, "--target", "loihi2")


def macro(width: int) -> MacroConfig:
    return MacroConfig(in_channels=3, image_size=(32, 32), n_classes=10, width=width, n_timesteps=4)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of width 512 on 32x32 colour images."""
    file = tmp_path_factory.mktemp("large") / "large.safetensors"
    save(AutoSnn(macro(512), BLOCKS), file)
    return file


def test_a_network_that_does_not_fit(large: Path, capsys: Refused) -> None:
    before = listing(Path.cwd())
    began = time.monotonic()
    code, answer = run_json("check", str(large), "--target", "loihi2")
    took = time.monotonic() - began
    assert code == 3 and took < 20
    data = answer["data"]
    assert not data["fits"] and data["placement"] is None and len(data["violations"]) > 1
    assert [e["where"] for e in answer["errors"]] == [v["where"] for v in data["violations"]]
    for error in answer["errors"]:
        assert error["code"] == "does_not_fit" and all(error[k] for k in ("where", "what", "limit", "remedy"))
    for command in (("export", large, "--target", "loihi2"), ("energy", large, "--target", "loihi2", "--rate", "0.1")):
        code, answer = run_json(*map(str, command))
        assert code == 3, command
        assert {e["where"] for e in answer["errors"]} == {v["where"] for v in data["violations"]}
    capsys.readouterr()
    code, shown = run("check", str(large), "--target", "loihi2")
    said = shown + capsys.readouterr().err
    assert code == 3 and "Error: " in said and "Traceback" not in said
    assert all(v["where"] in said for v in data["violations"])
    assert listing(Path.cwd()) == before


def test_what_would_fit_is_suggested(large: Path) -> None:
    began = time.monotonic()
    code, answer = run_json("check", str(large), "--target", "loihi2", "--suggest")
    assert code == 3 and time.monotonic() - began < 60
    width = answer["data"]["suggestion"]["width"]
    assert 1 <= width < 512
    for more, expected in ((0, 0), (1, 3)):
        save(AutoSnn(macro(width + more), BLOCKS), "narrow.pt")
        assert run_json("check", "narrow.pt", "--target", "loihi2")[0] == expected


def test_a_search_in_which_nothing_can_fit_does_not_begin(tiny: Tiny, tmp_path: Path) -> None:
    before = listing(tmp_path)
    began = time.monotonic()
    code, answer = run_json(
        "search", "--recipe", str(tiny.recipe), "--target", "loihi2", "--set", "network.width=1024", "--out", "run",
        "--set", "profile.capacity.cores_per_chip.value=4",
    )
    assert code == 3, answer["errors"]
    assert time.monotonic() - began < 20
    assert answer["errors"] and listing(tmp_path) == before


def test_output_folders_that_cannot_be_used(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    genome = "skip,skip,skip,skip,skip"
    for out in (tmp_path / "file", tmp_path / "file" / "deep" / "run", tmp_path / "full"):
        for command in (
            ("search", "--target", "loihi2", "--recipe", tiny.recipe), ("train", "--recipe", tiny.recipe, "--arch", genome),
            ("export", tiny.model, "--target", "loihi2"),
        ):  # fmt: skip
            began = time.monotonic()
            error = refused(capsys, 2, *command, "--out", out)
            assert str(out) in error["where"] and error["remedy"]
            assert time.monotonic() - began < 5, "refused after the work"
    refused(capsys, 2, "validate", tiny.bundle, "--out", tmp_path / "file" / "deep", unchanged=(tiny.run_dir,))


def test_every_changed_byte_of_a_bundle_is_noticed(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny.bundle, bundle, ignore=shutil.ignore_patterns("verdict.json"))
    files = sorted(bundle.iterdir())
    assert {"manifest.json", "graph.npz", "model.nir", "golden.npz", "run_on_loihi2.py"} <= {f.name for f in files}
    rng = np.random.default_rng(1)
    for file in files:
        whole = file.read_bytes()
        for place in (0, int(rng.integers(len(whole))), len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            error = refused(capsys, 6, "validate", bundle)
            assert file.name in error["where"] + error["what"], (file.name, place)
        file.write_bytes(whole[:-1])
        refused(capsys, 6, "validate", bundle)
        file.unlink()
        refused(capsys, 2 if file.name == "manifest.json" else 6, "validate", bundle)
        file.write_bytes(whole)
    assert run_json("validate", str(bundle))[0] == 0


def test_a_tool_that_is_not_installed(
    tiny: Tiny, capsys: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURODEPLOY_CACHE", str(tmp_path))
    error = refused(capsys, 5, "validate", tiny.bundle, "--oracle", "lava", unchanged=(tiny.run_dir,))
    assert "lava" in error["what"] and "neurodeploy env create loihi2" in error["remedy"]


def spiking(folder: Path) -> tuple[Path, Path]:
    """A network of integers, and chip input that it takes."""
    net, given, _ = strangers.write("plain", folder)
    return net, given


def commands_on(net: Path, given: Path) -> tuple[tuple[str | Path, ...], ...]:
    return (
        ("simulate", net, "--input", given, "--out", "out.npz"), ("energy", net, "--target", "all", "--input", given),
        ("export", net, "--target", "loihi2", "--input", given, "--out", "bundle"),
    )


def test_chip_input_that_is_hostile(tmp_path: Path, capsys: Refused) -> None:
    net, given = spiking(tmp_path)
    whole = given.read_bytes()
    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (999999999, 6), }\n"
        archive.writestr("input.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(10**7))
    objects = io.BytesIO()
    np.savez(objects, input=np.array([Evil()], dtype=object), allow_pickle=True)
    for name, payload in {
        "empty": b"", "truncated": whole[:-40], "half": whole[: len(whole) // 2], "text": b"spikes\n" * 50,
        "pickled": pickle.dumps(Evil()), "objects": objects.getvalue(), "huge": huge.getvalue(),
    }.items():  # fmt: skip
        (tmp_path / f"{name}.npz").write_bytes(payload)
        for command in commands_on(net, tmp_path / f"{name}.npz"):
            error = refused(capsys, 6, *command)
            assert f"{name}.npz" in error["where"]
    assert not Path("executed").exists()


def test_chip_input_that_the_network_cannot_take(tmp_path: Path, capsys: Refused) -> None:
    net, given = spiking(tmp_path)
    for name, values in {
        "wide": np.zeros((9, 2, 7), np.int8), "flat": np.zeros(6, np.int8), "twos": np.full((9, 2, 6), 2),
        "negative": np.full((9, 2, 6), -1), "real": np.full((9, 2, 6), 0.5), "nan": np.full((9, 2, 6), np.nan),
        "none": np.zeros((0, 2, 6), np.int8),
    }.items():  # fmt: skip
        np.savez(tmp_path / f"{name}.npz", input=values)
        for command in commands_on(net, tmp_path / f"{name}.npz"):
            error = refused(capsys, 2, *command)
            assert f"{name}.npz" in error["where"] and error["limit"] and error["remedy"]
    for command in commands_on(net, Path("nowhere.npz")):
        assert "nowhere.npz" in refused(capsys, 2, *command)["where"]
    for extra in (("--data", "digits"), ("--timesteps", "5")):
        for command in commands_on(net, given)[1:]:
            refused(capsys, 2, *command, *extra)
    refused(capsys, 2, "energy", net, "--target", "loihi2", "--input", given, "--rate", "0.1")


def test_samples_that_are_too_long(tmp_path: Path, capsys: Refused) -> None:
    net, _ = spiking(tmp_path)
    bias, _, _ = strangers.write("biased", tmp_path)
    np.savez(tmp_path / "once.npz", input=np.ones((2, 3, 2), np.int16))
    for command in (
        ("energy", net, "--target", "loihi2", "--rate", "0.1"), ("export", net, "--target", "loihi2"),
        *commands_on(bias, tmp_path / "once.npz"),
    ):  # fmt: skip
        began = time.monotonic()
        error = refused(capsys, 2, *command, "--timesteps", "1000000000")
        assert "timesteps" in error["what"] + error["remedy"] and time.monotonic() - began < 10


def test_a_network_in_real_numbers_has_no_spikes_of_a_chip(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    given = spiking(tmp_path)[1]
    module = load_module(tiny.model)
    del module.metadata["data"]
    save(module, tmp_path / "bare.safetensors")
    command = ("simulate", tmp_path / "bare.safetensors", "--input", given, "--out", "out.npz")
    for options in ((), ("--target", "loihi2")):
        error = refused(capsys, 2, *command, *options)
        assert error["code"] == "not_quantized" and "export" in error["remedy"]
    error = refused(capsys, 2, "energy", tmp_path / "bare.safetensors", "--target", "loihi2", "--input", given)
    assert error["code"] == "not_quantized"


def test_recordings_that_cannot_be_written(tmp_path: Path, capsys: Refused) -> None:
    net, given = spiking(tmp_path)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file" / "deep" / "out.npz", given):
        error = refused(capsys, 2, "simulate", net, "--input", given, "--out", out)
        assert str(out) in error["where"] and error["remedy"]


def test_lava_networks_that_are_damaged(tmp_path: Path, capsys: Refused) -> None:
    given = spiking(tmp_path)[1]
    whole = (GOLDEN / "loihi" / "netx_n02.net").read_bytes()
    for name, payload in {"empty": b"", "half": whole[: len(whole) // 2], "text": b"net\n" * 99, "end": whole[:-900]}.items():
        (tmp_path / f"{name}.net").write_bytes(payload)
        for command in (("check", tmp_path / f"{name}.net", "--target", "all"), *commands_on(tmp_path / f"{name}.net", given)):
            assert f"{name}.net" in refused(capsys, 6, *command)["where"]


@pytest.mark.parametrize(
    "options",
    [("--reset-interval", "0"), ("--reset-offset", "3"), ("--message-bits", "99"), ("--set", "net.nope=1"),
     ("--set", "net.num_layers=two"), ("--set", "net.input_shape=3")],
)  # fmt: skip
def test_options_of_a_net_that_are_wrong(tmp_path: Path, capsys: Refused, options: tuple[str, ...]) -> None:
    np.savez(tmp_path / "in.npz", input=np.zeros((5, 14), np.int8))
    for command in commands_on(GOLDEN / "loihi" / "netx_n02.net", tmp_path / "in.npz"):
        refused(capsys, 2, *command, *options)


def test_resuming_what_is_no_run(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    for folder in (tmp_path, tiny.bundle):
        refused(capsys, 2, "search", "--resume", folder)
        refused(capsys, 2, "worker", "--run", folder)
    refused(capsys, 2, "search", "--resume", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "options", [("--budget", "9"), ("--seed", "1"), ("--method", "random"), ("--set", "train.epochs=1"), ("--out", "x")]
)
def test_a_run_is_resumed_as_it_began(tiny: Tiny, capsys: Refused, options: tuple[str, ...]) -> None:
    error = refused(capsys, 2, "search", "--resume", tiny.run_dir, *options, unchanged=(tiny.run_dir,))
    assert "resume" in error["what"] and error["remedy"]


def test_a_run_keeps_its_recipe(tiny: Tiny, capsys: Refused) -> None:
    error = refused(capsys, 2, "search", "--resume", tiny.run_dir, "--recipe", "digits", unchanged=(tiny.run_dir,))
    assert "tiny" in error["limit"]
    again = ("--resume", str(tiny.run_dir), "--target", "loihi", "--recipe", str(tiny.recipe))
    assert run_json("search", *again)[0] == 0
    code, answer = run_json("search", "--resume", str(tiny.run_dir), "--dry-run")
    assert code == 0 and answer["data"]["recipe"]["name"] == "tiny"


def test_runs_that_are_damaged(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    ignore = shutil.ignore_patterns("bundle", "result.json", "run.lock")
    for name in ("run.json", "supernet.ckpt", "journal.log", "references.json", "model.safetensors"):
        folder = tmp_path / name
        shutil.copytree(tiny.run_dir, folder, ignore=ignore)
        payload = (folder / name).read_bytes()
        # A journal that only ends too early is one that was killed; a line that is broken off inside is damage.
        (folder / name).write_bytes(payload[: len(payload) // 2] + b"\n" * (name == "journal.log"))
        (folder / "run.lock").touch()
        error = refused(capsys, 6, "search", "--resume", folder)
        assert name in error["where"]
        shutil.rmtree(folder)


def test_a_checkpoint_of_another_run(tiny: Tiny, tmp_path: Path, capsys: Refused) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny.run_dir, folder, ignore=shutil.ignore_patterns("bundle", "result.json"))
    save_checkpoint(folder / "supernet.ckpt", {"kind": "supernet"}, {})
    assert "another run" in refused(capsys, 2, "search", "--resume", folder)["what"]
