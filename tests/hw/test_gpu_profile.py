"""Profiles of GPUs: shared by difference, checked like the others, and no place to lower a network for."""

from __future__ import annotations

from pathlib import Path

import pytest
from neurodeploy.errors import UsageError
from neurodeploy.hw.profile import GpuProfile, any_target, chip_of, names, read, resolve, target
from neurodeploy.resources import folder

GPUS = [name for name in names() if isinstance(any_target(name), GpuProfile)]


def gpu(name: str) -> GpuProfile:
    profile = any_target(name)
    assert isinstance(profile, GpuProfile)
    return profile


def test_the_gpus_are_there() -> None:
    assert GPUS == ["a100", "h100", "h100-server", "h200", "orin", "orin-nano"]
    assert resolve("gpu") == "h200", "no GPU is found where there is none"


def test_h200_by_hand() -> None:
    h200 = gpu("h200")
    assert h200.rates["bf16"].si == (989e12,) * 3 and h200.rates["bandwidth"].si[1] == 4.8e12
    assert h200.capacity.memory.si[1] == 141e9 and h200.capacity.multiprocessors.count == 132
    assert h200.time["launch"].si == pytest.approx((2e-6, 3e-6, 5e-6), rel=1e-12)
    assert h200.arithmetic.precisions[0] == "fp32", "what exported models run in"


@pytest.mark.parametrize("name", GPUS)
def test_operations_cost_about_the_maximum_power_at_the_peak_rate(name: str) -> None:
    profile = gpu(name)
    for precision in profile.arithmetic.precisions:
        most = profile.power["maximum"].value / profile.rates[precision].si[1]
        low, nominal, high = profile.energy[f"op_{precision}"].si
        assert most / 3 < low <= nominal <= most and high <= most * 1.51, "the profile's figures are rounded"


def test_boundaries_are_said() -> None:
    assert {name: gpu(name).boundary for name in GPUS} == {
        "a100": "board", "h100": "board", "h200": "board", "h100-server": "wall", "orin": "wall", "orin-nano": "wall",
    }


@pytest.mark.parametrize(("text", "words"), [
    ('[power]\nrail = { value = 1, unit = "W", status = "assumed", source = "nobody" }', "power.rail is no entry"),
    ('[rates]\nbandwidth = { value = 1, unit = "W", status = "assumed", source = "nobody" }', "expected one of B/s"),
    ('[rates]\nfp32 = { value = 1, unit = "TB/s", status = "assumed", source = "nobody" }', "expected one of Top/s"),
    ('[capacity]\nmemory = { value = 0, unit = "GB", status = "assumed", source = "nobody" }', "expected some GB"),
    ('[factors]\neta_fp32 = { value = 0, unit = "share", status = "assumed", source = "nobody" }', "must be above zero"),
    ('[arithmetic]\nprecisions = []', "at least 1 item"),
    ('[arithmetic]\nprecisions = ["fp64"]', "arithmetic.precisions"),
])
def test_what_a_gpu_profile_refuses(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'extends = "h200"\nname = "own"\n{text}\n', "utf-8")
    with pytest.raises(UsageError, match=words):
        read(path)


def test_what_time_needs_cannot_be_missing(tmp_path: Path) -> None:
    whole = (folder("hw_profiles") / "_gpu_family.toml").read_text("utf-8")
    lines = [line for line in whole.splitlines() if not line.startswith("launch")]
    (tmp_path / "family.toml").write_text("\n".join(lines), "utf-8")
    (tmp_path / "own.toml").write_text(
        (folder("hw_profiles") / "a100.toml").read_text("utf-8").replace("_gpu_family", "family"), "utf-8"
    )
    with pytest.raises(UsageError, match=r"time\.launch is missing"):
        read(tmp_path / "own.toml")


def test_a_gpu_is_no_chip_to_lower_for() -> None:
    for refused in (lambda: target("h200"), lambda: chip_of(any_target("h200"))):
        with pytest.raises(UsageError, match="h200 is a GPU") as caught:
            refused()
        assert caught.value.error_code == "other_arithmetic" and caught.value.remedy
    assert chip_of(any_target("speck")).name == "speck2f"
