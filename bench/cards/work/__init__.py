"""How much work a model is, counted in its graph."""
