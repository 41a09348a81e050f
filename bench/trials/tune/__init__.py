"""``bench tune``: which configuration of a model on a target is the best, and by how much."""
