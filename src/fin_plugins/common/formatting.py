"""Durations and sizes in words."""


def duration(seconds: float) -> str:
    """A time in words, as exact as one needs it: `4.5 s`, `45 s`, `6 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{round(seconds, 1 if seconds < 10 else 0):g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int, decimals: int = 0) -> str:
    """Bytes in words, decimal units: `12 MB`, `1.3 GB`.

    Args:
        count: bytes.
        decimals: digits after the point of megabytes; gigabytes always have one.
    """
    return f"{count / 1e6:.{decimals}f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
