"""Students of an original: of a classifier, and of a language model."""
