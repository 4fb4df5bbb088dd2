"""lm-eval model classes that score a label set from one prefill, and many adapters on one engine."""
