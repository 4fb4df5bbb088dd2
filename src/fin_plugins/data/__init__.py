"""The rows of data sets: pinned sources, builders, leak checks, embedded sample rows, users' own tables."""
