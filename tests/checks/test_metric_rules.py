"""Metrics of tasks and groups."""

import pytest

from tests.checks.check_helpers import GOOD_TASK, static_findings, write

pytestmark = pytest.mark.usefixtures("news_folder")
CHOICE = "metric_list: !function fin_plugins.tasks.metrics.CHOICE"


def test_a_group_of_checked_tasks() -> None:
    for name in ("one", "two"):
        write(f"my_{name}.yaml", f"task: my_{name}\ntag: my_tag\n" + GOOD_TASK)
    plain = GOOD_TASK.replace("process_results: !function fin_plugins.tasks.results.score_choice\n", "")
    write("my_three.yaml", "task: my_three\n" + plain.replace(CHOICE, "metric_list: [{metric: acc}]"))
    group = "group: my_group\ntask: [my_one, my_tag, {task: my_three, num_fewshot: 2}]\naggregate_metric_list:\n"
    write("group.yaml", group + "- {metric: acc, weight_by_size: false}\n")
    tasks = ["my_one.yaml", "my_two.yaml", "my_three.yaml"]
    assert static_findings("group.yaml", *tasks) == []
    write("group.yaml", group + "- {metric: mcc, weight_by_size: false}\n- {metric: mcc, weight_by_size: false}\n")
    found = {f"{finding.code} {finding.key}": finding.message for finding in static_findings("group.yaml", *tasks)}
    assert "my_three" in found["G05 aggregate_metric_list.0.metric"] and "G07 aggregate_metric_list.1.metric" in found
    assert {finding.code for finding in static_findings("group.yaml")} >= {"G01"}


def test_a_metric_that_the_function_never_returns() -> None:
    reply = GOOD_TASK.replace(CHOICE, "metric_list: !function fin_plugins.tasks.metrics.REPLY")
    findings = static_findings(write("never.yaml", "task: never\n" + reply))
    assert {(finding.code, finding.key) for finding in findings} == {("M07", "metric_list")}
    assert {finding.message.split("`")[1] for finding in findings} == {"missing", "ambiguous"}
    write("my.py", "METRICS = []\n")
    own_list = GOOD_TASK.replace(CHOICE, "metric_list: !function my.METRICS")
    assert static_findings(write("own.yaml", "task: own\n" + own_list)) == []
