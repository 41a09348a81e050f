"""Several machines as one instrument: which node measures what, and what came of it on one disk."""
