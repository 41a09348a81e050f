"""Everything that people and services read."""
