"""Templates are rendered like in lm-eval, but cannot run code, hang or fill the memory."""

import re
import resource

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import apply_template, env

from fin_plugins.checks.template_sandbox import (
    RenderingError,
    TemplateSyntaxError,
    literal_text,
    parse_template,
    render,
    render_all,
    variables,
)
from fin_plugins.checks.template_worker import ENVIRONMENT

DOCUMENT = {"text": "A  text\n", "label": "up", "choices": ["up", "down"], "gold": 0}
WORDS = "text label choices[gold] upper if else endif for in endfor set x range"
PIECES = st.sampled_from(f"{{{{ }}}} {{% %}} {{# #}} {WORDS} | = . ( ) [ ] ' 1 * ** ~ é".split())


@pytest.mark.parametrize(
    "template",
    ["Say: {{text}}", "{{choices[gold]}}\n", "{% if label == 'up' %}yes{% endif %}", "{{text|regex_replace('T','s')}}"],
)
def test_rendering_is_that_of_lm_eval(template):
    assert render(template, DOCUMENT) == apply_template(template, DOCUMENT)


@pytest.mark.parametrize(
    "template",
    ["{{''.__class__.__mro__}}", "{{'a' * 10000000}}", "{{9**9**9}}", "{% include 'x' %}", "{{range(10**7)|list}}"],
)
def test_forbidden_operations(template):
    with pytest.raises(RenderingError):
        render(template, DOCUMENT)


@given(st.lists(PIECES, max_size=14).map(" ".join) | st.text(max_size=40))
def test_no_template_does_more_than_fail(template):
    if isinstance(parse_template(template), TemplateSyntaxError):
        assert (variables(template), literal_text(template)) == (frozenset(), "")
    else:
        assert set(variables(template)) <= set(re.findall(r"\w+", template))
    try:
        render(template, DOCUMENT)
    except RenderingError as error:
        assert "\n" not in str(error)


def test_literal_text_and_variables():
    assert literal_text("Up or {{x}}down?{% if y %} Now{% endif %}") == "Up or {}down? Now"
    assert variables("{{text}} {{choices[gold]}} {{range(3)}}") == {"text", "choices", "gold"}


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ text|regex_replace('(x+x+)+y', '') }}",
    ],
)
def test_an_endless_template_is_stopped_and_not_tried_again(template):
    document = {"text": "x" * 40}
    with pytest.raises(RenderingError, match="does not finish"):
        render(template, document)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    for _ in range(50):
        with pytest.raises(RenderingError, match="does not finish"):
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
def test_after_a_template_without_bound_the_next_one_is_rendered(template):
    with pytest.raises(RenderingError) as caught:
        render(template, DOCUMENT)
    assert "\n" not in str(caught.value)
    assert render("Say: {{text}}", DOCUMENT) == "Say: A  text\n"


def test_constants_are_not_computed_while_parsing():
    template = "{{ 'x'|center(10000000000) }}{% if 'x'|center(10000000001) %}{% endif %} {{text}}"
    parsed = parse_template(template)
    assert isinstance(parsed, TemplateSyntaxError) or parsed.variables == {"text"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 5_000_000  # KiB


def test_the_environment_is_that_of_lm_eval():
    assert (ENVIRONMENT.undefined, ENVIRONMENT.keep_trailing_newline) == (env.undefined, env.keep_trailing_newline)
    assert env.trim_blocks is ENVIRONMENT.trim_blocks and env.lstrip_blocks is ENVIRONMENT.lstrip_blocks
    assert set(env.filters) - set(ENVIRONMENT.filters) == {"regex_replace"}


def test_rows_may_hold_any_picklable_values():
    row = {"text": "a", "number": np.int64(3), "when": pd.Timestamp("2024-01-02"), "list": [1, {"a": None}]}
    assert render("{{number + 1}} {{when.year}} {{list[1].a}}", row) == apply_template(
        "{{number + 1}} {{when.year}} {{list[1].a}}", row
    )
    with pytest.raises(RenderingError, match="passed on"):
        render("{{text}}", {"text": lambda: 1})


def test_many_rows_at_once():
    rows = [{**DOCUMENT, "text": f"number {number}"} for number in range(2000)]
    assert render_all("Say: {{text}}", rows) == [apply_template("Say: {{text}}", row) for row in rows]
