"""Tests of the YAML reader: data, positions, and every problem with its line."""

import os
from pathlib import Path

import pytest
import yaml

from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import MAX_BYTES, Problem, Problems, parse_value, parse_yaml, read_yaml

GOOD = """\
# a comment
model: demo
tasks:
  - fin_fomc
  - {task: fin_fpb, cap: 10}
lora:
  r: 16
  names: &names [q, v]
more: {again: *names, "quoted key": 'x', 日本: yes, none: ~, far: 1e3, real: 0.5, date: 2024-01-02}
"""


def problem_lines(content: bytes | str) -> list[str]:
    """The problems of a file's content as text."""
    content = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    try:
        return [str(problem) for problem in parse_yaml(content, "f.yaml").problems]
    except Problems as error:
        return [str(problem) for problem in error.problems]


def test_data_and_positions() -> None:
    file = parse_yaml(GOOD.encode(), "f.yaml")
    assert file.problems == () and file.name == "f.yaml"
    assert file.data == {
        "model": "demo",
        "tasks": ["fin_fomc", {"task": "fin_fpb", "cap": 10}],
        "lora": {"r": 16, "names": ["q", "v"]},
        "more": {
            "again": ["q", "v"],
            "quoted key": "x",
            "日本": True,
            "none": None,
            "far": "1e3",
            "real": 0.5,
            "date": "2024-01-02",
        },
    }
    assert file.places[("model",)] == (2, 1)
    assert file.places[("tasks", 0)] == (4, 5) and file.places[("tasks", 1, "cap")] == (5, 21)
    assert file.places[("lora", "names", 1)] == (8, 21) == file.places[("more", "again", 1)]


def test_a_problem_has_the_position_of_its_key_or_parent() -> None:
    file = parse_yaml(GOOD.encode(), "f.yaml")
    assert str(file.problem(("lora", "r"), "no")) == "f.yaml:7:3 lora.r: no"
    assert str(file.problem(("lora", "gone", "deeper"), "no")) == "f.yaml:6:1 lora.gone.deeper: no"
    assert str(file.problem(("gone",), "no")) == "f.yaml:1:1 gone: no"
    assert str(file.problem((), "no")) == "f.yaml:1:1: no"
    assert str(Problem("--set a=1", 0, 0, "", "no\nmore")) == "--set a=1: no more"


def test_merge_keys_are_resolved_and_direct_keys_win() -> None:
    text = "one: &a {x: 1, y: [2]}\ntwo: &b {x: 3, z: 4}\nthree:\n  y: [5]\n  <<: [*a, *b]\n"
    file = parse_yaml(text.encode(), "f")
    assert file.data["three"] == yaml.safe_load(text)["three"] == {"x": 1, "y": [5], "z": 4}
    assert file.places[("three", "y")] == (4, 3) and file.places[("three", "y", 0)] == (4, 7)
    assert file.places[("three", "z")] == (2, 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: {c: 2,\n  c: 3}\na: 4\n", ["f.yaml:3:3 b.c: duplicate key; first given in line 2"]),
        ("a: !!python/object/apply:os.system [ls]\n", ["f.yaml:1:4 a: the tag !!python/object/apply:os.system is not"]),
        ("a: [!mine x, !!binary eA==]\n", ["f.yaml:1:5 a.0: the tag !mine", "f.yaml:1:14 a.1: the tag !!binary"]),
        ("a: !!bool maybe\n", ["f.yaml:1:4 a: cannot be read as YAML's bool"]),
        ("a: 0x" + "f" * 20, ["f.yaml:1:4 a: number out of range"]),
        ("a: " + "9" * 5000, ["f.yaml:1:4 a: cannot be read as YAML's int"]),
        ("off: 1\n? [x]\n: 2\n", ["f.yaml:1:1: `off` is not a valid key", "f.yaml:2:3: this is not a valid key"]),
        ("a: &a [*a]\n", ["f.yaml:1:4 a.0: contains itself"]),
        ("a: &a {<<: *a}\n", ["f.yaml:1:4 a: `<<` takes a mapping", "f.yaml:1:4 a: contains itself"]),
        ('a: "x\\0"\nb: "\\ud800"\n', ["f.yaml:1:4 a: text with a NUL", "f.yaml:2:4 b: text with a NUL"]),
        ("- a\n- b\n", ["f.yaml:1:1: must be a mapping"]),
        ("", ["f.yaml:1:1: must be a mapping"]),
        ("a: 1\n--- \nb: 2\n", ["f.yaml:2:1: expected a single document in the stream, but found another document"]),
        ("a: [1\nb: 2\n", ["f.yaml:2:2: while parsing a flow sequence, expected ',' or ']'"]),
        ("a:\n\t- b\n", ["f.yaml:2:1: while scanning for the next token"]),
        ("a: *gone\n", ["f.yaml:1:4: found undefined alias"]),
        ("a: b\0", ["f.yaml:1:5: the character U+0000"]),
        ("ü: 1\nb: \x07\n", ["f.yaml:2:4: the character U+0007"]),
        ('a: "\\UFFFFFFFF"\n', ["f.yaml:1:1: not YAML"]),
        ("a: " + "[" * 5000, ["f.yaml:1:53: nested deeper than 50 levels"]),
        (b"a: 1\nb: \xff\n", ["f.yaml:2:4: not UTF-8"]),
        (GOOD.encode("utf-16"), ["f.yaml:1:1: not UTF-8"]),
        (b"a: " + b"x" * MAX_BYTES, ["f.yaml:1:1: larger than 1 MiB"]),
    ],
)
def test_problems_and_their_positions(text: str | bytes, expected: list[str]) -> None:
    problems = problem_lines(text)
    for start in expected:
        assert any(problem.startswith(start) for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_problems_are_sorted_by_position() -> None:
    with pytest.raises(Problems) as error:
        raise Problems(reversed(parse_yaml(b"a: !x 1\nb: !y 2\n", "f").problems))
    assert str(error.value).splitlines()[0] == "2 problems"
    assert [line[:6] for line in str(error.value).splitlines()[1:]] == ["f:1:4 ", "f:2:4 "]


@pytest.mark.parametrize("kind", ["lists", "merges", "deep"])
def test_aliases_cannot_make_a_file_large(kind: str) -> None:
    entry = {"lists": "[*a{0}, *a{0}]", "merges": "{{<<: [*a{0}, *a{0}], k{0}: 1}}", "deep": "[[[[[[[[*a{0}]]]]]]]]"}
    start = "{k: 1}" if kind == "merges" else "[1]"
    text = f"a0: &a0 {start}\n" + "".join(f"a{n + 1}: &a{n + 1} {entry[kind].format(n)}\n" for n in range(40))
    (line,) = problem_lines(text)
    assert ("nested deeper than" if kind == "deep" else "aliases expand to more than 10000 values") in line


def test_plain_long_files_are_read() -> None:
    assert len(parse_yaml(b"a:\n" + b"- x\n" * 20_000, "f").data["a"]) == 20_000


def test_byte_order_mark() -> None:
    assert parse_yaml(b"\xef\xbb\xbfa: 1\n", "f").places[("a",)] == (1, 1)


def test_reading_files(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: 1\n")
    assert read_yaml(file).data == {"a": 1}
    for gone in (tmp_path, tmp_path / "gone", tmp_path / ("x" * 300), tmp_path / "a\0b", Path("/dev/zero")):
        with pytest.raises(FinError, match=r"no such file|cannot be opened|not a regular file|not a file name"):
            read_yaml(gone)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: 1\n")
    file.chmod(0)
    with pytest.raises(FinError, match=r"cannot be read \(Permission denied\)"):
        read_yaml(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("0.2", 0.2),
        ("off", False),
        ("", None),
        ("[a, b]", ["a", "b"]),
        ("{a: [1]}", {"a": [1]}),
        ("x", "x"),
    ],
)
def test_a_value_alone(text: str, value: object) -> None:
    assert parse_value(text, "--set a") == value


@pytest.mark.parametrize("text", ["{", "a: b: c", "!!python/name:os.system x", "\udcff", "[" * 60, "{a: 1, a: 2}"])
def test_a_bad_value_has_no_line(text: str) -> None:
    with pytest.raises(Problems) as error:
        parse_value(text, "--set a=…")
    assert all(str(problem).startswith("--set a=…") and problem.line == 0 for problem in error.value.problems)
