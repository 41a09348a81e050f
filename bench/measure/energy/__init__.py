"""Energy: a lane of its own beside the timed blocks, which are too short to carry it."""
