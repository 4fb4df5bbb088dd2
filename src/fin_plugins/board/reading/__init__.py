"""From lm-eval's files, or the board's own committed form, to entries in columns. `read_results` is the door."""

from fin_plugins.board.reading.read import read_results

__all__ = ["read_results"]
