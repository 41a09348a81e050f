"""What is written down about a cell, and how its figures follow from what was measured."""
