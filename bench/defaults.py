"""What holds unless somebody says otherwise, wherever it is asked for."""

#: Of every interval and verdict.
CONFIDENCE = 0.95
#: Times that differ by less count as the same. Our choice.
MARGIN = 0.02
#: No time that is waited for is longer: 31 years, and clocks of 64 bits count nanoseconds for 292.
LONGEST_S = 1e9
#: The version that no longer takes what has another name or form now, and how people are told.
GONE_IN = "0.2"
GOES_AWAY = f"goes away in version {GONE_IN}"
