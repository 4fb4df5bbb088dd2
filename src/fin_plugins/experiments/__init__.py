"""Experiments of `fin run`: one YAML file describes trainings, merges, scoring and boards; Snakemake runs the steps."""
