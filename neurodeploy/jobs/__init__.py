"""The stages behind the pipeline's arrows: run folders, candidates, deployment, evaluation on the simulator."""
