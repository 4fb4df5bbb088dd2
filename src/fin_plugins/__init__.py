"""Financial text classification for EleutherAI's lm-evaluation-harness.

This file imports nothing: the start-up file loads the package in every Python process of the environment.
"""

__version__ = "0.1.0"
