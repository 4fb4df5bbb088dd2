"""Plumbing of no domain: files, hashes, YAML into pydantic models, formatting, errors."""
