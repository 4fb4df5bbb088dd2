"""A user's own task with its rows and its generative variant."""

from pathlib import Path

TASK_YAML = """\
# yaml-language-server: $schema=https://example.org/task.schema.json
# Moods of short notes.
# Made for a test.
task: {name}
tag: [moody, short]
custom_dataset: !function fin_plugins.tasks.own.load
dataset_kwargs:
  file: rows.csv
  columns: {{text: note, label: mood}}
  labels: {{"0": glad, "1": sad}}
  split_column: part
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "Glad or sad?\\nNote: {{{{text}}}}"
doc_to_choice: choices
doc_to_target: gold
gen_prefix: "mood:"
process_results: !function fin_plugins.tasks.results.score_choice
metric_list: !function fin_plugins.tasks.metrics.CHOICE
metadata:
  version: 1.0
  fin: {{seen: false, source: written for a test, licence: Apache-2.0}}
"""

ROWS = """\
note,mood,part
The sun is out.,0,train
The bus left without me.,1,train
I found a coin.,0,test
My tea is cold.,1,test
My tea got cold again.,1,test
The bus left without me.,1,dev
Rain all week.,1,train
"""

GENERATIVE_YAML = """\
include: {name}.yaml
task: {name}_gen
output_type: generate_until
doc_to_choice: null
doc_to_target: label
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8}}
process_results: !function fin_plugins.tasks.results.score_reply
metric_list: !function fin_plugins.tasks.metrics.REPLY
"""


def write_mood_tasks(folder: Path, name: str = "moods") -> Path:
    """Write the rows, the task and its generative variant; the path of the task."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
    (folder / f"{name}_gen.yaml").write_text(GENERATIVE_YAML.format(name=name), encoding="utf-8")
    file = folder / f"{name}.yaml"
    file.write_text(TASK_YAML.format(name=name), encoding="utf-8")
    return file
