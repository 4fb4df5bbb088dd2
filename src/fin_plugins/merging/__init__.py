"""Merging: mergekit recipes applied to LoRA adapters and checkpoints, and a search for merge weights."""
