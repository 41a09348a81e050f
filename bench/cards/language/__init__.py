"""Decoder-only language models: loaded, described, exported and checked with their state."""
