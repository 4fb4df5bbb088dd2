"""Comments suppress findings of a line or of a file; every rule is explained."""

import pytest

from fin_plugins.checks.findings import all_rules
from tests.checks.check_helpers import GOOD_TASK, static_findings, summary, write

PREFIX_FAULT = GOOD_TASK.replace("[good, bad, mixed]", "[good, bad, good news]")
FINDING = "L03 dataset_kwargs.labels.2 line 6"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: a\n" + PREFIX_FAULT.replace("good news]", "good news]  # fin: ignore L03, because"), set()),
        ("# fin: ignore L03 L04\ntask: a\n" + PREFIX_FAULT, {"I01 - line 1"}),
        ("task: a  # fin: ignore L03\n" + PREFIX_FAULT, {"I01 - line 1", FINDING}),
        ("task: a\n" + PREFIX_FAULT.replace("  {{text}}", "  # fin: ignore L03\n  {{text}}"), {FINDING}),
    ],
    ids=["line", "file", "another line", "in a text"],
)
@pytest.mark.usefixtures("news_folder")
def test_suppressions(text: str, expected: set[str]) -> None:
    assert summary(static_findings(write("task.yaml", text))) == expected


def test_every_rule_has_a_title_and_an_explanation() -> None:
    assert all(rule.title and len(rule.why) > 30 for rule in all_rules().values())
