"""Architecture search: spaces, AutoSNN's evolution, fitness with the chip's cost, and storage for many workers."""
