"""Whole experiments: one file says which models are trained, merged and scored, and Snakemake drives it."""
