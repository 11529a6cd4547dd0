"""Trainable spiking networks (torch): neurons, blocks, networks, their files and their conversion to a Graph.

Importing this package imports nothing; import the module that you need.
"""
