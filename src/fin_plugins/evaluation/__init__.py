"""`fin eval` on our model classes: several models on one engine, checked before the first score, resumable."""
