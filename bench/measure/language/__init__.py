"""Scoring language models: texts, questions with choices, and answers."""
