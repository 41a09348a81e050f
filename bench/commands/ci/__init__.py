"""``bench ci``: continuous integration."""
