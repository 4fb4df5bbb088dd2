"""The leaderboard: lm-eval's result files in, one table one can trust out."""
