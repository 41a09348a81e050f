"""What holds unless somebody says otherwise, wherever it is asked for."""

#: Of every interval and verdict.
CONFIDENCE = 0.95
#: Times that differ by less count as the same. Our choice.
MARGIN = 0.02
