"""What holds unless somebody says otherwise, wherever it is asked for."""

#: Of every interval and verdict.
CONFIDENCE = 0.95
#: Times that differ by less count as the same. Our choice.
MARGIN = 0.02
#: No time that is waited for is longer: 31 years, and clocks of 64 bits count nanoseconds for 292.
LONGEST_S = 1e9
