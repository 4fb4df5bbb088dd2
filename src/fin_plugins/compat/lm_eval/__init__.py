"""lm-eval's internals, tried with 0.4.12 and 0.4.13 (dependencies in `pyproject.toml` allow no others).

- `tasks`: the index of task files, and loading tasks from it.
- `installation`: what an installed lm-eval finds, asked cheaply (`fin doctor`).
- `command_line`: its parser, run in this process, and the errors it raises for names that it does not know.
- `schema`: keys, types, metrics and filters that it knows.
- `prompts`, `models`, `hf`, `vllm`: tokenisation, and the private methods of its model classes.
- `logs`: what it logs that says nothing to a user of `fin eval`, and its call of git.

The start-up file, `fin_plugins/startup.py`, patches `TaskIndex.build` too; it has to run without lm-eval being imported
and so stands apart.

A known break: lm-eval 0.5. Its development version of May 2026 (0.5.0.dev1) finds our tasks and then refuses
`fin_*_gen`: "metric acc is defined but has output_type … which does not match generate_until", because it compares
`metric_list` with the output types that its registry has for each metric. (Also new there: `lm_eval.api.task` is a
package; task files may have `scorer:` and `formats:`; `task@format` names a form of a task.) What will be done: the
metrics of `_gen` are computed by our own `process_results`, so under 0.5 the task files either declare them through
`scorer:`, or register our metrics under the same names for `generate_until` before tasks are loaded; metric names in
result files stay as they are, because boards compare results over versions. Until then the upper bound stays below
0.4.14.
"""
