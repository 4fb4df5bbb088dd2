"""From lm-eval's result files, or exported ones, to entries in columns: see `load_runs`."""
