"""`python -m neurodeploy` is the `neurodeploy` command."""

import sys

from neurodeploy.resources import missing_packages

try:
    from neurodeploy.cli.main import run
except ModuleNotFoundError:  # of the command line itself
    missing = missing_packages()
    if missing is None:
        raise
    sys.stderr.write(f"Error: {missing}\n")
    sys.exit(missing.exit_code)
run()
