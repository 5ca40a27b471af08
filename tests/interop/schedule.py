"""Section 12: when cells leave. All times are in microseconds."""

MILLISECOND = 1000
SECOND = 1000 * MILLISECOND
SLOT_MS = 100
TIME_TO_SEAL = 3 * MILLISECOND


def first_tick(interval_ms: int, sealed: int) -> int:
    """The first tick after a HELLO. Both times count from 1970-01-01 00:00:00 UTC."""
    slots = -(-interval_ms // SLOT_MS)
    interval = interval_ms * MILLISECOND
    number = -(-(sealed + TIME_TO_SEAL) * slots // interval)
    return number * interval // slots
