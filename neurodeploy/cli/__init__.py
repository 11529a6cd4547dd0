"""The command line: one file a verb; each parses, calls one function of `neurodeploy.commands` and prints its result."""
