"""The figures of a board: intervals, means, ranks, paired tests and forgetting. See `build_board`."""
