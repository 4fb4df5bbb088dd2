"""Times as a person reads them."""


def duration(seconds: float) -> str:
    """A time in words, as exact as one needs it: `4.5 s`, `45 s`, `6 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{round(seconds, 1 if seconds < 10 else 0):g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
