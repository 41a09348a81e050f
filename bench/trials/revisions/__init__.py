"""Two states of a repository against each other: what `bench compare --base REV` does."""
