"""The leaderboard: turns lm-eval's result files into one trustworthy table."""
