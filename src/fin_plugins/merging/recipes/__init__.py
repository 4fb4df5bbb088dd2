"""Merge recipes: mergekit configurations with placeholders for models and parameters."""
