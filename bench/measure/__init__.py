"""From a plan to finished cells."""
