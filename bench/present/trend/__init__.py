"""A static site that shows each cell over many runs: what `bench publish --history` writes."""
