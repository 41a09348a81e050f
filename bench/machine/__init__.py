"""What computer this is, which of its cores to use, and what disturbs it meanwhile."""
