"""Does a bundle still say what it said: no byte changed, the golden spikes come out again, the accuracy holds."""

from neurodeploy.validate.bundle import OpenBundle, open_bundle
from neurodeploy.validate.compare import Divergence, first_divergence
from neurodeploy.validate.event_bundle import EventBundle, open_any, open_event_bundle
from neurodeploy.validate.event_compare import EventDivergence, first_event_divergence
from neurodeploy.validate.event_verdict import validate_event_bundle
from neurodeploy.validate.gpu_bundle import GpuBundle, open_gpu_bundle
from neurodeploy.validate.gpu_verdict import validate_gpu_bundle
from neurodeploy.validate.verdict import Verdict, validate

__all__ = [
    "Divergence", "EventBundle", "EventDivergence", "GpuBundle", "OpenBundle", "Verdict", "first_divergence",
    "first_event_divergence", "open_any", "open_bundle", "open_event_bundle", "open_gpu_bundle", "validate",
    "validate_event_bundle", "validate_gpu_bundle",
]
