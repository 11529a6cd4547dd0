"""When a sample may stop: SEENN-I, confidence of the running vote."""

from neurodeploy.early_exit.confidence import ConfidencePolicy, ExitPoint, choose_threshold, exit_curve, exit_steps

__all__ = ["ConfidencePolicy", "ExitPoint", "choose_threshold", "exit_curve", "exit_steps"]
