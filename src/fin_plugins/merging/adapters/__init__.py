"""Merges of adapters that are adapters again: exact for weighted sums, factored anew for the other methods."""
