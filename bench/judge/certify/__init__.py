"""From what was seen of two parties to a verdict: is the one still the other?"""
