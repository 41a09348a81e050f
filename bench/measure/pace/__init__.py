"""What measuring takes, when a cell has enough of it, and what is left."""
