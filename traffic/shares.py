"""A share of counted things with its interval: no percentage is shown without its n."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """So many of `n`, and the Wilson score interval of the share."""

    count: float
    """A whole number, or a sum of shares."""
    n: int
    share: float | None
    """None without data."""
    low: float
    high: float


def share_of(count: float, n: int, z: float = 1.96) -> Share:
    """`count` of `n`, with the Wilson score interval (E. B. Wilson, 1927), by default at 95 %; [0, 1] without data."""
    if n == 0:
        return Share(0, 0, None, 0.0, 1.0)
    share = min(1.0, max(0.0, count / n))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Share(count, n, share, max(0.0, centre - half), min(1.0, centre + half))
