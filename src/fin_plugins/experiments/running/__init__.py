"""A plan is run: Snakemake starts one `step` a step; `run` looks after Snakemake, and says how far it is."""
