"""Which hardware for which model: one table over machines, targets, models and variants."""
