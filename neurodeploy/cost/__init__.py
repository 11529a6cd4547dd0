"""Energy and latency of a placed network: counted events times the profile's constants, static power times time."""
