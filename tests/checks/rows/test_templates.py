"""Templates are rendered as lm-eval does, but nothing is run that a file should not run."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import apply_template

from fin_plugins.checks.rows.templates import RenderingError, SyntaxFault, literal, parsed, render, variables

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
