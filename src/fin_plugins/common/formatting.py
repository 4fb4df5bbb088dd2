"""Durations and file sizes as short text."""


def duration(seconds: float) -> str:
    """A duration, rounded to what a reader needs: `4.5 s`, `45 s`, `6 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{round(seconds, 1 if seconds < 10 else 0):g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int, decimals: int = 0) -> str:
    """A size in decimal units: `12 MB`, `1.3 GB`.

    Args:
        count: number of bytes.
        decimals: decimal places of megabytes; gigabytes always have one.
    """
    return f"{count / 1e6:.{decimals}f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
