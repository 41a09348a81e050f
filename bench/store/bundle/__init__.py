"""Runs packed into one file that checks itself: how it is laid out, and how it is opened."""
