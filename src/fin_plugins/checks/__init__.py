"""The checker of files that people write: task, group and training files."""
