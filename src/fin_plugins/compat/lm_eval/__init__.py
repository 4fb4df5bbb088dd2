"""lm-eval's internals, tested with 0.4.12 and 0.4.13 (`pyproject.toml` allows no others).

- `tasks`: the index of task files, and tasks loaded from it.
- `installation`: what an installed lm-eval finds, determined cheaply (`fin doctor`).
- `command_line`: its parser, run in this process, and its errors for unknown names.
- `schema`: known keys, types, metrics and filters.
- `prompts`, `models`, `hf`, `vllm`: tokenisation, and the private methods of its model classes.
- `logs`: log messages of no use to users of `fin eval`, and its call of git.

`fin_plugins/lm_eval_hook.py` also patches `TaskIndex.build`. It must run before lm-eval is imported and
is therefore separate.

Known incompatibility: lm-eval 0.5. Its development version of May 2026 (0.5.0.dev1) finds our tasks but refuses
`fin_*_gen`: "metric acc is defined but has output_type … which does not match generate_until", because it checks
`metric_list` against the output types registered for each metric. (Also new there: `lm_eval.api.task` is a package;
task files may have `scorer:` and `formats:`; `task@format` names a variant of a task.) The plan: our `process_results`
computes the metrics of `_gen`, so under 0.5 the task files either declare them through `scorer:`, or we register our
metrics under the same names for `generate_until` before tasks are loaded. Metric names in result files stay unchanged,
because boards compare results across versions. Until then the upper bound stays below 0.4.14.
"""
