"""Days between which keys, cards and membership lists are valid. Never finer than a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

VALID_DAYS = 730
WARN_DAYS = 30
MAX_DAYS = 3660


@dataclass(frozen=True)
class Validity:
    """First and last day, both in UTC.

    Raises
    ------
    ValueError
        The last day is before the first, or more than ten years after it.
    """

    created: date
    expires: date

    def __post_init__(self) -> None:
        if not 0 <= (self.expires - self.created).days <= MAX_DAYS:
            raise ValueError("not a span of at most ten years")

    @classmethod
    def parse(cls, created: str, expires: str) -> Validity:
        """From two ISO dates (``2026-11-24``).

        Raises
        ------
        ValueError
            They are not dates in that very spelling, or not a valid span.
        """
        try:
            first, last = date.fromisoformat(created), date.fromisoformat(expires)
        except ValueError:  # its message quotes the text
            raise ValueError("not a date of the form 2026-11-24") from None
        if (first.isoformat(), last.isoformat()) != (created, expires):
            raise ValueError("not a date of the form 2026-11-24")
        return cls(first, last)

    def covers(self, today: date | None = None) -> bool:
        """Whether it is valid today; a day early is forgiven, for another time zone's clock."""
        now = today or utc_today()
        return self.days_early(now) <= 1 and now <= self.expires

    def days_early(self, today: date | None = None) -> int:
        """Days until it begins, 0 or below when it has."""
        return (self.created - (today or utc_today())).days

    def days_left(self, today: date | None = None) -> int:
        """Days until it expires, below 0 when it has."""
        return (self.expires - (today or utc_today())).days

    def expiry_note(self, what: str, today: date | None = None) -> str | None:
        """A sentence to show when it expires within 30 days or has expired, else nothing."""
        left = self.days_left(today)
        if left > WARN_DAYS:
            return None
        if left < 0:
            return f"{what} expired on {self.expires}."
        when = "today" if left == 0 else f"in {left} day{'s' if left > 1 else ''}"
        return f"{what} expires {when}, on {self.expires}."


def utc_today() -> date:
    """Today's date in UTC."""
    return datetime.now(UTC).date()


def valid_from_today(today: date | None = None, days: int = VALID_DAYS) -> Validity:
    """Valid from today for so many days."""
    first = today or utc_today()
    return Validity(first, first + timedelta(days=days))
