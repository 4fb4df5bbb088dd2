"""Financial text classification for EleutherAI's lm-evaluation-harness.

Nothing is imported here: the start-up file loads this package in every Python process of the environment.
"""

__version__ = "0.1.0"
