"""Resolving recipes: the result, and everything that can be wrong, with its line."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems, parse_yaml
from fin_plugins.merging.recipes.recipe_model import Expert, MergeModels, ResolvedRecipe
from fin_plugins.merging.recipes.recipe_placeholders import evaluate_default, parse_placeholder
from fin_plugins.merging.recipes.recipe_resolution import Recipe, read_recipe, read_settings, resolve_recipe

BASE = Path("/models/base")
TIES = (
    "merge_method: ties\n"
    "base_model: ${base}\n"
    "models:\n"
    "  - model: ${expert}\n"
    "    parameters:\n"
    "      weight: ${weight=share}\n"
    "      density: ${density=0.2}\n"
)


def models(*names: str, adapters: bool = True) -> MergeModels:
    experts = tuple(Expert(name, Path("/models") / name, adapters) for name in names)
    return MergeModels(BASE, "org/base", 30, "bfloat16", experts)


def resolve(
    recipe: str, *names: str, sets: tuple[str, ...] = (), weights: tuple[str, ...] = (), **options: Any
) -> ResolvedRecipe:
    settings, problems = read_settings(sets, weights, names)
    if problems:
        raise Problems(problems)
    return resolve_recipe(read_recipe(recipe), models(*names), settings, **options)


def write_recipe(folder: Path, text: str) -> str:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_one_entry_becomes_one_per_expert() -> None:
    result = resolve("task_arithmetic", "fomc", "fpb")
    assert result.config == {
        "merge_method": "task_arithmetic",
        "base_model": "/models/base",
        "models": [
            {"model": "/models/base+/models/fomc", "parameters": {"weight": 0.5}},
            {"model": "/models/base+/models/fpb", "parameters": {"weight": 0.5}},
        ],
        "parameters": {"lambda": 1},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    assert [expert.weight for expert in result.experts] == [0.5, 0.5] and result.parameters == {"lambda": 1}


def test_the_command_line_wins_for_all_and_for_one() -> None:
    result = resolve(
        "ties", "a", "b.v2", "c", sets=("density=0.4", "b.v2.density=[0.1, 0.9]", "int8_mask=true"), weights=("c=-1",)
    )
    assert [expert.parameters["density"] for expert in result.experts] == [0.4, [0.1, 0.9], 0.4]
    assert [expert.weight for expert in result.experts] == [1 / 3, 1 / 3, -1]
    assert [entry["parameters"]["density"] for entry in result.config["models"]] == [0.4, [0.1, 0.9], 0.4]
    assert result.config["parameters"]["int8_mask"] is True and result.parameters["int8_mask"] is True


def test_parameters_without_a_placeholder_can_be_changed() -> None:
    names = ("sentiment", "fomc", "headline", "finred")
    result = resolve("paper_2411.02476", *names, sets=("weight=0.3",), weights=("fomc=0.1",))
    assert {expert.name: expert.weight for expert in result.experts} == dict.fromkeys(names, 0.3) | {"fomc": 0.1}
    assert result.dtype == "float16"
    assert resolve("paper_2411.02476", *names, dtype="float32").dtype == "float32"


def test_two_experts_keep_their_order() -> None:
    result = resolve("slerp", "a", "b", sets=("t=[0, 1]",))
    assert result.config["base_model"] == "/models/base+/models/a"
    assert [entry["model"][-1] for entry in result.config["models"]] == ["a", "b"]
    assert result.config["parameters"] == {"t": [0, 1]}


def test_layers_are_counted() -> None:
    ranges = [piece["sources"][0]["layer_range"] for piece in resolve("layer_swap", "a", "b").config["slices"]]
    assert ranges == [[0, 7], [7, 23], [23, 30]]
    ranges = [
        piece["sources"][0]["layer_range"]
        for piece in resolve("layer_swap", "a", "b", sets=("from=2", "to=4")).config["slices"]
    ]
    assert ranges == [[0, 2], [2, 4], [4, 30]]


@pytest.mark.parametrize("name", sorted(MERGE_RECIPES.files()))
def test_every_recipe_is_short_and_documented(name: str) -> None:
    lines = MERGE_RECIPES.files()[name].read_text(encoding="utf-8").splitlines()
    assert 10 <= len(lines) <= 22 and max(map(len, lines)) <= 120
    assert any(line.startswith(f"#   fin merge {name} --base BASE --expert ") for line in lines)
    assert "arXiv" in "".join(lines) or name in ("slerp", "nuslerp", "multislerp")
    assert MERGE_RECIPES.descriptions()[name].endswith(".")


@pytest.mark.parametrize("name", sorted(MERGE_RECIPES.files()))
def test_mergekit_takes_every_recipe(name: str) -> None:
    from mergekit.config import MergeConfiguration

    experts = ("sentiment", "fomc", "headline", "finred") if name.startswith("paper") else ("a", "b")
    config = resolve(name, *experts).config
    assert "${" not in yaml.safe_dump(config)
    assert MergeConfiguration.model_validate(yaml.safe_load(yaml.safe_dump(config))).dtype == "float32"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TIES.replace("density:", "densty:"),
            ":7:7 models.0.parameters.densty: not a parameter of ties (did you mean de",
        ),
        (TIES.replace("base_model", "base_modle"), ":2:1 base_modle: no such key (did you mean base_model?)"),
        (TIES.replace(": ties", ": tise"), ":1:1 merge_method: tise: no such method (did you mean ties?)"),
        (TIES.replace("    parameters", "    paramters"), ":5:5 models.0.paramters: no such key (did you mean param"),
        (TIES.replace("0.2", "1.2"), ":7:7 models.0.parameters.density: 1.2: should be from 0 to 1"),
        (TIES.replace("=0.2", "=many"), ":7:7 models.0.parameters.density: many: should be a float"),
        (TIES.replace("${density=0.2}", "${density}"), ":7:7 models.0.parameters.density: has no default"),
        (TIES.replace("${density=0.2}", "${density=layers*}"), "layers*: should be a float"),
        (TIES.replace("${density=0.2}", "a${b}"), "a placeholder must be the entire value"),
        (TIES.replace("${density=0.2}", "${x=depth/2}"), "depth: not a known number"),
        (TIES.replace("${density=0.2}", "${x=1/0}"), "1/0: cannot be computed"),
        (TIES.replace("${density=0.2}", "[]"), "density: should not be empty"),
        (TIES.replace("${density=0.2}", "{valeu: 1}"), "density: should have value and filter"),
        (
            TIES.replace("      density: ${density=0.2}", "      lambda: 2"),
            "lambda: applies to all inputs of ties: mov",
        ),
        (TIES.replace("${expert}", "org/model"), ":4:5 models.0.model: models are given on the command line"),
        (TIES.replace("${expert}", "${base}"), "names no expert"),
        (TIES + "tokenizer_source: union\n", ":8:1 tokenizer_source: leave it out"),
        (TIES + "slices: []\n", "should have either models or slices"),
        ("merge_method: ties\nmodels: {}\n", ":2:1 models: should be a list"),
        ("base_model: ${base}\n", "merge_method: is missing"),
    ],
)
def test_faults_of_a_recipe_are_named_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FinError) as error:
        resolve(write_recipe(tmp_path, text), "a", "b")
    assert message in str(error.value)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    text = TIES.replace("density:", "densty:").replace("base_model", "base")
    with pytest.raises(FinError) as error:
        resolve(write_recipe(tmp_path, text), "a", "b", sets=("gama=1", "weight=x"))
    assert str(error.value).startswith("4 problems\n")
    assert "--set gama=1: ties has no parameter gama" in str(error.value)
    assert "--set weight=x: x: should be a float" in str(error.value)


def test_no_layer_may_be_left_out_or_repeated(tmp_path: Path) -> None:
    text = read_recipe("layer_swap").file.name
    longer = Path(text).read_text(encoding="utf-8").replace('"${to=layers-from}"', "30")
    with pytest.raises(FinError, match="slices: the result would have 37 layers, and the base has 30"):
        resolve(write_recipe(tmp_path, longer.replace('"${to}"', "23")), "a", "b")


@pytest.mark.parametrize(
    ("recipe", "names", "message"),
    [
        ("slerp", "a", "exactly two experts, expert_a and expert_b in the order given; given: a"),
        ("layer_swap", "abc", "exactly two experts"),
        ("model_stock", "a", "model_stock takes 2 or more experts; given: a"),
        ("paper_2411.02476", "ab", "takes exactly the experts finred, fomc, headline, sentiment; given: a, b"),
    ],
)
def test_the_number_of_experts_is_checked(recipe: str, names: str, message: str) -> None:
    with pytest.raises(FinError, match=message):
        resolve(recipe, *names)


@pytest.mark.parametrize(
    ("sets", "weights", "message"),
    [
        (("density",), (), "--set density: should be KEY=VALUE"),
        ((), ("0.3",), "--weight 0.3: should be EXPERT=NUMBER"),
        (("aa.density=1",), (), r"--set aa.density=1: no expert is named aa \(did you mean a\?\)"),
        ((), ("z=1",), "--weight z=1: no expert is named z; there are a, b"),
        ((), ("a=.inf",), "--weight a=.inf: inf: should be a finite number"),
        (("a.lambda=2",), (), "lambda applies to all inputs of ties"),
        (("share=1",), (), "--set share=1: share follows from the models"),
        (("density=[0.1, 2]",), (), "2: should be from 0 to 1"),
    ],
)
def test_faults_of_settings_are_named(sets: tuple[str, ...], weights: tuple[str, ...], message: str) -> None:
    with pytest.raises(FinError, match=message):
        resolve("ties", "a", "b", sets=sets, weights=weights)


def test_dellas_epsilon_must_fit_its_density() -> None:
    with pytest.raises(FinError, match="within 0 and 1"):
        resolve("della", "a", "b", sets=("a.density=0.9",))


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(FinError, match=r"tiess: no such file or shipped recipe \(did you mean ties\?\)"):
        read_recipe("tiess")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.sampled_from(sorted({*TIES.split(), "a"})),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "models", "slices", "sources", "parameters", "weight", "layer_range", "value"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["base_model", "models", "slices", "parameters", "dtype", "merge_method"]), _VALUES)
def test_any_recipe_is_resolved_or_refused(key: str, value: Any) -> None:
    data = yaml.safe_load(TIES) | {key: value}
    file = parse_yaml(yaml.safe_dump(data).encode(), "recipe.yaml")
    with suppress(FinError):
        assert resolve_recipe(Recipe("any", file), models("a", "b")).config["merge_method"] == data["merge_method"]


@given(st.text(max_size=20))
def test_any_text_is_a_placeholder_or_is_refused(text: str) -> None:
    try:
        placeholder = parse_placeholder(text)
    except ValueError:
        assert "${" in text
    else:
        assert (placeholder is None) == ("${" not in text)


@given(st.integers(0, 99), st.sampled_from(["+", "-", "*", "/", "//"]), st.integers(1, 99))
def test_arithmetic_is_that_of_python(left: int, sign: str, right: int) -> None:
    expected = eval(f"{left}{sign}{right}")
    assert evaluate_default(f"{left} {sign} {right}", {}) == expected
    assert evaluate_default(f"x{sign}{right}", {"x": left}) == expected
