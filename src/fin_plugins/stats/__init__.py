"""Metrics over pairs of gold and predicted labels, with standard errors, intervals and tests."""
