"""Recipes: mergekit's YAML with named placeholders. Found, read, filled in and checked."""
