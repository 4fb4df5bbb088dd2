"""Templates are rendered as lm-eval does, but nothing is run that a file should not run."""

import re
import resource

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import apply_template, env

from fin_plugins.checks.rows.rendering import (
    RenderingError,
    SyntaxFault,
    literal,
    parsed,
    render,
    render_all,
    variables,
)
from fin_plugins.checks.rows.rendering_worker import ENVIRONMENT

DOCUMENT = {"text": "A  text\n", "label": "up", "choices": ["up", "down"], "gold": 0}
WORDS = "text label choices[gold] upper if else endif for in endfor set x range"
PIECES = st.sampled_from(f"{{{{ }}}} {{% %}} {{# #}} {WORDS} | = . ( ) [ ] ' 1 * ** ~ é".split())


@pytest.mark.parametrize(
    "template",
    ["Say: {{text}}", "{{choices[gold]}}\n", "{% if label == 'up' %}yes{% endif %}", "{{text|regex_replace('T','s')}}"],
)
def test_as_lm_eval(template):
    assert render(template, DOCUMENT) == apply_template(template, DOCUMENT)


@pytest.mark.parametrize(
    "template",
    ["{{''.__class__.__mro__}}", "{{'a' * 10000000}}", "{{9**9**9}}", "{% include 'x' %}", "{{range(10**7)|list}}"],
)
def test_what_is_refused(template):
    with pytest.raises(RenderingError):
        render(template, DOCUMENT)


@given(st.lists(PIECES, max_size=14).map(" ".join) | st.text(max_size=40))
def test_no_template_does_more_than_fail(template):
    if isinstance(parsed(template), SyntaxFault):
        assert (variables(template), literal(template)) == (frozenset(), "")
    else:
        assert set(variables(template)) <= set(re.findall(r"\w+", template))
    try:
        render(template, DOCUMENT)
    except RenderingError as error:
        assert "\n" not in str(error)


def test_the_words_of_a_template():
    assert literal("Up or {{x}}down?{% if y %} Now{% endif %}") == "Up or {}down? Now"
    assert variables("{{text}} {{choices[gold]}} {{range(3)}}") == {"text", "choices", "gold"}


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ text|regex_replace('(x+x+)+y', '') }}",
    ],
)
def test_what_does_not_end_is_stopped_and_not_tried_again(template):
    document = {"text": "x" * 40}
    with pytest.raises(RenderingError, match="does not end"):
        render(template, document)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    for _ in range(50):
        with pytest.raises(RenderingError, match="does not end"):
            render(template, document)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
    assert render("Say: {{text}}", DOCUMENT) == "Say: A  text\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{ lipsum(n=100000) }}",
        "{% for a in range(99999) %}{{ text }}{{ text }}{{ text }}{{ text }}{% endfor %}",
        "{{ text|center(10000000000) }}",
        "{{ '%09999999999d'|format(1) }}",
        "{% set ns = namespace(x=text) %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_what_grows_without_bound_is_refused_and_the_next_one_is_rendered(template):
    with pytest.raises(RenderingError) as caught:
        render(template, DOCUMENT)
    assert "\n" not in str(caught.value)
    assert render("Say: {{text}}", DOCUMENT) == "Say: A  text\n"


def test_a_constant_is_not_computed_while_a_template_is_read():
    template = "{{ 'x'|center(10000000000) }}{% if 'x'|center(10000000001) %}{% endif %} {{text}}"
    found = parsed(template)
    assert isinstance(found, SyntaxFault) or found.variables == {"text"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 5_000_000  # KiB


def test_the_environment_is_that_of_lm_eval():
    assert (ENVIRONMENT.undefined, ENVIRONMENT.keep_trailing_newline) == (env.undefined, env.keep_trailing_newline)
    assert env.trim_blocks is ENVIRONMENT.trim_blocks and env.lstrip_blocks is ENVIRONMENT.lstrip_blocks
    assert set(env.filters) - set(ENVIRONMENT.filters) == {"regex_replace"}


def test_a_row_of_any_values_is_handed_over():
    row = {"text": "a", "number": np.int64(3), "when": pd.Timestamp("2024-01-02"), "list": [1, {"a": None}]}
    assert render("{{number + 1}} {{when.year}} {{list[1].a}}", row) == apply_template(
        "{{number + 1}} {{when.year}} {{list[1].a}}", row
    )
    with pytest.raises(RenderingError, match="handed over"):
        render("{{text}}", {"text": lambda: 1})


def test_many_rows_at_once_are_each_as_alone():
    rows = [{**DOCUMENT, "text": f"number {number}"} for number in range(2000)]
    assert render_all("Say: {{text}}", rows) == [apply_template("Say: {{text}}", row) for row in rows]
