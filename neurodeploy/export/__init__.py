"""What a chip's own tools load: artifacts, golden vectors, a run script and a manifest, in one folder (a bundle)."""

from neurodeploy.export.bundle import Bundle
from neurodeploy.export.write import export

__all__ = ["Bundle", "export"]
