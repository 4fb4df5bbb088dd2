"""From what was read to what is shown: figures, intervals, means, places, comparisons, forgetting."""

from fin_plugins.board.statistics.build import board_of

__all__ = ["board_of"]
