"""Hardware profiles: every number of a chip, with unit, source, status and band."""
