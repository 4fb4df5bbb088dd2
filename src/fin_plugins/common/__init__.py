"""Domain-free building blocks: atomic files, hashes, YAML into pydantic models, progress, formatting, errors."""
