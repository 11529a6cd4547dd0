"""The command line: one file a verb; each parses, calls one function of `neurodeploy.pipeline` and prints its result."""
