"""A merge written as a checkpoint: mergekit computes each tensor in float32, it is rounded once and written."""
