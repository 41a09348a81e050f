"""Results of other tools read in, and ours written for them: one module a format."""
