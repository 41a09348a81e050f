"""Processes, blocks within them, calls within these: how each varies, and ratios of them."""
