"""Training of one network or of a weight-sharing supernet. Importing this package imports nothing."""
