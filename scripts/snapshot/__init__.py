"""The parts of `scripts/behaviour.py`."""
