"""What task files call: loaders of rows, processing of results, metrics.

Task files name these functions by dotted path, users' own files included, and `fin run` hashes the paths into its step
keys. They must therefore stay: `rows.load`, `own.load`, `results.score_choice`, `results.score_reply`, the aggregations
in `results`, `metrics.CHOICE` and `metrics.REPLY`.
"""
