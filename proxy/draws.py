"""Drawing sessions at random, inside a query: the same sessions each time, whatever has happened to them since."""

import hashlib
import hmac
from typing import NamedTuple


class Draw(NamedTuple):
    """A share of sessions, chosen by a salted hash."""

    salt: str
    """Hex digits; see `draw_for`."""
    share: float
    """In [0, 1]."""

    def sql(self, column: str) -> str:
        """A condition on a column that names the session."""
        if self.share >= 1:
            return "TRUE"
        # Hex digits of a hash below those of the share: text order is number order at equal length.
        return f"sha256('{self.salt}:' || {column}) < '{int(max(self.share, 0.0) * 16**8):08x}'"


def draw_for(secret: bytes, purpose: str, share: float) -> Draw:
    """A draw of its own for each purpose: what one draw takes says nothing about another."""
    return Draw(hmac.new(secret, purpose.encode(), hashlib.sha256).hexdigest()[:32], share)
