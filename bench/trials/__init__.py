"""Other questions to a target than how fast it is."""
