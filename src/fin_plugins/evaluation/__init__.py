"""`fin eval` on our model classes: many models on one engine, checked before the first score, resumed by content."""
