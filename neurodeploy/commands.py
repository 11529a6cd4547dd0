"""One function a verb of the command line; each can be called from Python with the same arguments."""

from neurodeploy.jobs.ann import resolve_without_spikes, train_without_spikes
from neurodeploy.jobs.calibrate import calibrate
from neurodeploy.jobs.check import check
from neurodeploy.jobs.compare import compare
from neurodeploy.jobs.convert import convert
from neurodeploy.jobs.doctor import doctor
from neurodeploy.jobs.energy import energy
from neurodeploy.jobs.env import env_add, env_create, env_list, env_remove
from neurodeploy.jobs.events import events
from neurodeploy.jobs.export import export
from neurodeploy.jobs.measure_gpu import measure_gpu
from neurodeploy.jobs.resolve import resolve_deploy
from neurodeploy.jobs.search import resolve_recipe, search, worker
from neurodeploy.jobs.simulate import simulate
from neurodeploy.jobs.train import train
from neurodeploy.jobs.validate import validate

__all__ = [
    "calibrate", "check", "compare", "convert", "doctor", "energy", "env_add", "env_create", "env_list", "env_remove",
    "events", "export", "measure_gpu", "resolve_deploy", "resolve_recipe", "resolve_without_spikes", "search", "simulate",
    "train", "train_without_spikes", "validate", "worker",
]
