"""Classifies outliers by the modified z-score. Nothing is dropped: a count is a warning.

Iglewicz & Hoaglin 1993, "How to Detect and Handle Outliers" (ASQC Quality Press): a sample's
distance from the median in units of the median absolute deviation (MAD), which half of the
samples can be outliers without moving far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: MAD of a normal distribution over its standard deviation: the normal quantile at 3/4
NORMAL_MAD = 0.6745
#: mean absolute deviation of a normal distribution over its standard deviation: sqrt(2 / pi)
NORMAL_MEAN_DEVIATION = 0.7979
#: Iglewicz & Hoaglin's own threshold
MILD = 3.5
#: hyperfine's (14.826 times the MAD, src/outlier_detection.rs), as a modified z-score
SEVERE = 10.0


@dataclass(frozen=True)
class Outliers:
    """Counts by class; a severe outlier is not counted as mild."""

    low_severe: int
    low_mild: int
    high_mild: int
    high_severe: int

    def counts(self) -> dict[str, int]:
        """The four counts by class name."""
        return asdict(self)


def modified_z_scores(samples: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    """0.6745 (x - median) / MAD for samples of shape (n,), in any unit.

    Where more than half of the samples are equal the MAD is 0, and the mean absolute deviation
    takes its place (Iglewicz & Hoaglin); where all are equal every score is 0. Raises `ValueError`
    for another shape.
    """
    array = np.asarray(samples, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"samples must be one-dimensional, not of shape {array.shape}")
    if array.size == 0:
        return array
    distances = array - np.median(array)
    spread = float(np.median(np.abs(distances))) / NORMAL_MAD
    if spread == 0:
        spread = float(np.abs(distances).mean()) / NORMAL_MEAN_DEVIATION
    return distances / spread if spread > 0 else np.zeros_like(array)


def classify_outliers(samples: Sequence[float] | NDArray[Any]) -> Outliers:
    """Count mild (beyond 3.5) and severe (beyond 10) outliers on each side."""
    scores = modified_z_scores(samples)
    low_severe, low = int((scores < -SEVERE).sum()), int((scores < -MILD).sum())
    high_severe, high = int((scores > SEVERE).sum()), int((scores > MILD).sum())
    return Outliers(low_severe, low - low_severe, high - high_severe, high_severe)
