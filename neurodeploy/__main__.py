"""`python -m neurodeploy` is the `neurodeploy` command."""

from neurodeploy.cli.main import run

run()
