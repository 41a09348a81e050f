"""Runs the reference and each target on the same inputs, and keeps what a verdict needs."""
