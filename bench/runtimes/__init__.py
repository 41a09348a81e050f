"""This side of the process boundary: targets, probing, and the processes that workers run in."""
