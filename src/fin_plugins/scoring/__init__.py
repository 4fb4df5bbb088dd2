"""lm-eval model classes that score a label set from one prefill and exchange adapters on one engine."""
