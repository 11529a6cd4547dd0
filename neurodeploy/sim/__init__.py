"""What an integer network does, timestep by timestep: reference.py (slow, obviously right) and clocked.py (equal, fast)."""
