"""Runs on disk: written, read, found, tabulated and derived again."""
