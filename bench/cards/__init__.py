"""From what the user calls a model to its files, data, task and variants."""
