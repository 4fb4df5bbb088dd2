"""Two faults in one file are both reported, as each is alone: no rule stops another one from looking."""

import difflib
import itertools
import random
from pathlib import Path

import pytest

from tests.checks.seeing import seen

FOLDER = Path(__file__).parent / "faults"
GOOD = (FOLDER / "_good").read_text(encoding="utf-8").splitlines()
DEPENDENT = ("f04_module.yaml", "k02_output_type.yaml")
"""Without a loader of ours, or without a kind of task, the rules for such tasks do not apply."""

Change = tuple[int, int, tuple[str, ...]]


def changes(file: str) -> list[Change]:
    """What a fault's file has otherwise than the one without a fault: start and end of lines, and what stands there."""
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()[2:]
    matcher = difflib.SequenceMatcher(None, GOOD[1:], lines, autojunk=False)
    return [(a, b, tuple(lines[c:d])) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def task_faults() -> list[str]:
    """Faults of tasks that differ from the good one in a few lines."""
    names = (path.name for path in sorted(FOLDER.glob("[cflkms]*.yaml")))
    starts = {name: (FOLDER / name).read_text(encoding="utf-8").splitlines()[1:3] for name in names}
    small = [name for name, start in starts.items() if start[0].startswith("task: ") and len(start) == 2]
    return [
        name
        for name in small
        if name not in DEPENDENT and 0 < sum(b - a + len(new) for a, b, new in changes(name)) <= 4
    ]


FAULTS = task_faults()
EACH_WITH = 5
"""So many others is each fault paired with."""


def applied(found: list[Change]) -> str:
    lines = GOOD[1:]
    for start, end, new in sorted(found, reverse=True):
        lines[start:end] = new
    return "task: pair_of_faults\n" + "\n".join(lines) + "\n"


def said(name: str, text: str) -> set[str]:
    Path(name).write_text(text, encoding="utf-8")
    return {f"{one.code} {one.key}" for one in seen(name)}


def apart(one: list[Change], other: list[Change]) -> bool:
    return all(b < c or d < a for a, b, _ in one for c, d, _ in other)


def test_the_faults_are_many() -> None:
    assert len(FAULTS) >= 30


def test_each_of_two_faults_is_reported_as_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("news.csv", "helpers.py"):
        Path(name).write_bytes((FOLDER / name).read_bytes())
    found = {fault: changes(fault) for fault in FAULTS}
    alone = {fault: said("one.yaml", applied(found[fault])) for fault in FAULTS}
    assert all(alone.values())
    pairs = [(a, b) for a, b in itertools.combinations(FAULTS, 2) if apart(found[a], found[b])]
    drawn = random.Random(17).sample(pairs, EACH_WITH * len(FAULTS) // 2)
    hidden = {}
    for a, b in drawn:
        both = said("one.yaml", applied(found[a] + found[b]))
        if missing := (alone[a] | alone[b]) - both:
            hidden[a, b] = missing
    assert hidden == {}


def test_a_choice_that_stands_twice_is_reported_beside_a_missing_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = "task: plain_pair\ndataset_path: imdb\noutput_type: multiple_choice\ndoc_to_text: '{{text}}'\n"
    found = said("plain.yaml", plain + 'doc_to_choice: ["up", "down", "up"]\ndoc_to_target: label\n')
    assert found == {"S03 test_split", "L02 doc_to_choice.2"}
