"""Does a bundle still say what it said: no byte changed, the golden spikes come out again, the accuracy holds."""

from neurodeploy.validate.bundle import OpenBundle, open_bundle
from neurodeploy.validate.compare import Divergence, first_divergence
from neurodeploy.validate.verdict import Verdict, validate

__all__ = ["Divergence", "OpenBundle", "Verdict", "first_divergence", "open_bundle", "validate"]
