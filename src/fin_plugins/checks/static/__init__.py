"""Rules that need no rows, a module a subject."""
