"""The YAML reader on anything: a mapping of plain data, or problems with a line, and no other error."""

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.common.yaml_file import Problems, parse_yaml
from tests.common.test_yaml_file import GOOD


def survives(content: bytes) -> None:
    """Whatever comes: a mapping of plain data, or problems in one line each."""
    try:
        file = parse_yaml(content, "f")
    except Problems as error:
        assert error.problems and str(error)
        problems = error.problems
    else:
        json.dumps(file.data, allow_nan=True).encode()
        problems = file.problems
    assert all(problem.line >= 1 and problem.column >= 1 and "\n" not in str(problem) for problem in problems)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    survives(content)


PIECES = st.sampled_from(
    [
        *(
            "a",
            "b",
            ": ",
            "- ",
            "\n",
            "  ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "&a ",
            "*a",
            "<<",
            "'",
            '"',
            "|\n",
            ">-\n",
            "? ",
            "#",
        ),
        *(
            "!!int ",
            "!!bool ",
            "!!map ",
            "!!float ",
            "!!timestamp ",
            "!!str ",
            "!!",
            "!x ",
            "\u2028",
            "\x85",
            "é",
            "\\U",
        ),
        *(
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "%TAG ! x\n",
            "0x_",
            "1:99",
            "0b",
            ".inf",
            "2024-99-99",
            "~",
            "=",
            "\t",
            "-_",
        ),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_anything_that_looks_like_yaml(text: str) -> None:
    survives(text.encode())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_good_file_with_a_few_bytes_changed(data: st.DataObject) -> None:
    content = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 8)))
        content[start:end] = data.draw(st.one_of(PIECES.map(str.encode), st.binary(max_size=3)))
    survives(bytes(content))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé :#'", max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text("abc :#-", min_size=1, max_size=5), VALUES, min_size=1, max_size=5))
def test_what_is_plain_is_read_as_pyyaml_reads_it(data: dict[str, object]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    file = parse_yaml(text.encode(), "f")
    assert file.data == yaml.safe_load(text) or any("NUL" in problem.message for problem in file.problems)
