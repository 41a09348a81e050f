"""Matching, differences, effects and verdicts: values in, values out."""
