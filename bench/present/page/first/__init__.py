"""The first screen of a run: a banner where checks failed, two cards, and the front."""
