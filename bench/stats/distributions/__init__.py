"""Distribution functions and their inverses, in Python alone; SciPy is what tests hold them to."""
