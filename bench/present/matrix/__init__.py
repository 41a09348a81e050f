"""The matrix of machines, targets and models for people and programs."""
