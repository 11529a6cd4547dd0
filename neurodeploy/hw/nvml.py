"""NVIDIA's management library, where it is there: which GPU this machine has, and what it draws. Imported only when asked.

Power is that of the board. The energy counter (Volta and later) is in millijoules; without it power is sampled.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from neurodeploy.errors import EnvironmentMissing

_REMEDY = "pip install 'neurodeploy[nvml]' on a machine with an NVIDIA GPU and its driver"


@cache
def device_name() -> str | None:
    """The driver's name of this machine's first GPU, None where there is none, or no library to ask."""
    try:
        return Nvml().name
    except EnvironmentMissing:
        return None


class Nvml:
    """One GPU's meter. `uuid` picks the GPU that a program uses, else it is the first.

    Raises EnvironmentMissing without the library, a driver or a GPU.
    """

    def __init__(self, uuid: str | None = None) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise EnvironmentMissing("the package nvidia-ml-py is not installed", where="NVML", remedy=_REMEDY) from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
                raise EnvironmentMissing("CUDA_VISIBLE_DEVICES hides every GPU", where="NVML", remedy="Unset it")
            handle = pynvml.nvmlDeviceGetHandleByIndex(0) if uuid is None else pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._handle = handle
            self.name = _text(pynvml.nvmlDeviceGetName(handle))
            self.driver = _text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            raise EnvironmentMissing("no GPU answers", where="NVML", limit=str(error), remedy=_REMEDY) from error

    def power_w(self) -> float:
        """What the board draws now. Raises EnvironmentMissing where the GPU does not say."""
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3
        except self._nvml.NVMLError as error:
            raise EnvironmentMissing(
                f"{self.name} does not tell its power", where="NVML", limit=str(error),
                remedy="Measure at the wall and write the profile by hand (docs/gpu.md)",
            ) from error

    def energy_j(self) -> float | None:
        """What the board has drawn since the driver was loaded; None where it has no counter."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except self._nvml.NVMLError:
            return None


def _text(answer: str | bytes) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer
