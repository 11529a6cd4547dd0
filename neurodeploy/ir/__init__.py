"""The network representation: nodes, graphs, their meaning (reference.py) and their files."""
