"""Modules of `scripts/behaviour.py`."""
