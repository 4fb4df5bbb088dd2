"""Assumptions of `compat/mergekit`, checked on tiny checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mergekit.common import ModelReference
from mergekit.options import MergeOptions
from transformers import AutoConfig, AutoModelForCausalLM

from fin_plugins.compat import mergekit


@pytest.fixture(scope="module")
def folders(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base, and an expert with one added to every weight."""
    model = AutoModelForCausalLM.from_pretrained(tiny_models["base"], dtype=torch.float32)
    folder = tmp_path_factory.mktemp("expert")
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    model.save_pretrained(folder)
    return tiny_models["base"], folder


@pytest.fixture
def recipe(folders: tuple[Path, Path]) -> dict[str, Any]:
    base, expert = map(str, folders)
    models = [{"model": expert, "parameters": {"weight": 0.5}}]
    return {"merge_method": "task_arithmetic", "base_model": base, "models": models, "dtype": "float32"}


def test_methods_are_registered_with_their_parameters() -> None:
    methods = mergekit.methods()
    assert {"linear", "task_arithmetic", "ties", "dare_ties", "della", "sce", "model_stock", "slerp"} <= set(methods)
    parameters = {parameter.name: parameter for parameter in methods["ties"].spec.parameters}
    assert {"weight", "density", "normalize"} <= set(parameters)
    assert parameters["normalize"].scope.value == "shared" and parameters["weight"].scope.value != "shared"
    assert parameters["density"].validate("0.5") == 0.5
    with pytest.raises(ValueError):
        parameters["density"].validate("half")


def test_a_method_merges_tensors_with_parameters() -> None:
    base, expert = torch.zeros(2, 3), torch.ones(2, 3)
    inputs = [("base", base, True), ("expert", expert, False)]
    parameters = mergekit.methods()["task_arithmetic"].spec.parameters
    shared = {parameter.name: parameter.default for parameter in parameters if parameter.scope.value == "shared"}
    merged = mergekit.merge("task_arithmetic", "w", inputs, {**shared, "weight": {"expert": 0.25}})
    assert torch.allclose(merged, torch.full((2, 3), 0.25))


def test_the_plan_has_one_task_per_tensor_and_computes_it_through_our_loaders(
    folders: tuple[Path, Path], recipe: dict[str, Any]
) -> None:
    loaded: list[str] = []

    class RecordingLoader(mergekit.LazyTensorLoader):
        def get_tensor(self, key: str, *arguments: Any, **settings: Any) -> Any:
            loaded.append(key)
            return super().get_tensor(key, *arguments, **settings)

    base, expert = folders
    options = MergeOptions(device="cpu", quiet=True)
    indexes = {folder: mergekit.ShardedTensorIndex.from_disk(str(folder)) for folder in folders}
    loaders = {ModelReference.parse(str(folder)): RecordingLoader(index) for folder, index in indexes.items()}
    with mergekit.loaders_in_place(loaders, options), torch.no_grad():
        tasks = mergekit.plan(recipe, base, AutoConfig.from_pretrained(base), options)
        assert loaded == [], "planning reads no weights"
        by_name = {task.tensor_name: task for task in tasks}
        assert set(indexes[base].tensor_paths) <= set(by_name)
        name = "model.norm.weight"
        planned = mergekit.planned(by_name[name])
        value = mergekit.compute(by_name[name], "cpu")
    references = ModelReference.parse(str(base)), ModelReference.parse(str(expert))
    assert planned.name == name and planned.method == "task_arithmetic" and planned.base == references[0]
    assert set(planned.inputs) == set(references) and set(planned.sources.values()) == {name}
    assert planned.input_parameters[references[1]]["weight"] == 0.5 and "normalize" in planned.parameters
    assert set(loaded) == {name}
    original = mergekit.LazyTensorLoader(indexes[base]).get_tensor(name)
    assert torch.allclose(value, original.float() + 0.5)


def test_loaders_are_restored(folders: tuple[Path, Path]) -> None:
    from mergekit.io.tasks import LoaderCache

    before = dict(LoaderCache().loaders)
    loader = mergekit.LazyTensorLoader(mergekit.ShardedTensorIndex.from_disk(str(folders[0])))
    with mergekit.loaders_in_place({ModelReference.parse(str(folders[0])): loader}, MergeOptions()):
        assert loader in LoaderCache().loaders.values()
    assert dict(LoaderCache().loaders) == before


def test_an_invalid_recipe_raises_a_known_error(folders: tuple[Path, Path], recipe: dict[str, Any]) -> None:
    config = AutoConfig.from_pretrained(folders[0])
    with pytest.raises((ValueError, RuntimeError, KeyError)):
        mergekit.plan({**recipe, "merge_method": "no_such"}, folders[0], config, MergeOptions())
