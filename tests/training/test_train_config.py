"""What a training file may say, whatever it is read from."""

import pytest
from pydantic import ValidationError

from fin_plugins.common.validation import validate
from fin_plugins.training.train_config import TrainConfig

LEAST = {"model": "demo", "tasks": ["fin_fomc"]}


def wrong(data: dict) -> dict[str, str]:
    """The message for each invalid key."""
    config, found = validate(TrainConfig, data, LEAST)
    assert (config is None) == bool(found)
    return {".".join(map(str, key)): message for key, message in found}


def test_the_least_that_must_be_said() -> None:
    config, found = validate(TrainConfig, LEAST, LEAST)
    assert found == [] and config is not None
    assert (config.method, config.lora.r, config.loss, config.batching) == ("lora", 16, "completion", "auto")
    assert config.replay is None and config.validation is not None and config.validation.rows == 200
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"replay": "self"}, {"replay": {"source": "self"}}),
        ({"replay": False}, {}),
        ({"replay": "off"}, {}),
        ({"validation": False}, {"validation": None}),
        ({"validation": "off"}, {"validation": None}),
        ({"tasks": ["a", {"task": "b"}]}, {"tasks": [{"task": "a"}, {"task": "b"}]}),
        ({"learning_rate": "2e-5"}, {"learning_rate": 0.00002}),  # which is text to YAML 1.1
    ],
)
def test_short_forms(short: dict, long: dict) -> None:
    assert TrainConfig.model_validate({**LEAST, **short}) == TrainConfig.model_validate({**LEAST, **long})


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        ({"modle": 1}, "modle", "no such key (did you mean model?)"),
        ({"Seed": 1}, "Seed", "no such key (did you mean seed?)"),
        ({"alpha": 1}, "alpha", "no such key here (did you mean lora.alpha?)"),
        ({"lora": {"learning_rate": 1}}, "lora.learning_rate", "no such key here (did you mean learning_rate?)"),
        ({"lora": {"xyz": 1}}, "lora.xyz", "no such key (known: r, alpha, dropout, target_modules)"),
        ({"xyz": 1}, "xyz", "no such key"),
        ({"tasks": [{"task": "a", "wieght": 1}]}, "tasks.0.wieght", "no such key (did you mean weight?)"),
        ({"tasks": [{"cap": 1}]}, "tasks.0.task", "is missing: Name of a task or group"),
        ({"tasks": "fin_fomc"}, "tasks", "should be a valid list"),
        ({"tasks": []}, "tasks", "List should have at least 1 item"),
        ({"tasks": [""]}, "tasks.0", "should have at least 1 character"),
        ({"method": "lorra"}, "method", "should be lora or rslora or dora or qlora or full (did you mean lora?)"),
        ({"scheduler": "Cosine"}, "scheduler", "(did you mean cosine?)"),
        ({"lora": 5}, "lora", "should be a mapping of r, alpha, dropout, target_modules"),
        ({"lora": {"target_modules": "q"}}, "lora.target_modules", "should be all-linear or a valid list"),
        ({"lora": {"target_modules": ["q", 1]}}, "lora.target_modules.1", "should be a valid string"),
        ({"lora": {"r": True}}, "lora.r", "should be a number, not yes or no"),
        ({"chat_template": 7}, "chat_template", "should be auto or a valid boolean"),
        ({"epochs": float("inf")}, "epochs", "should be a finite number"),
        ({"epochs": float("nan")}, "epochs", "should be a finite number"),
        ({"seed": -1}, "seed", "should be greater than or equal to 0"),
        ({"batch_size": 1.5}, "batch_size", "should be a valid integer"),
        ({"lora": {"dropout": 1}}, "lora.dropout", "should be less than 1"),
        (
            {"replay": {"source": "x.jsonl", "instructions": "i.jsonl"}},
            "replay.instructions",
            "`source: self`",
        ),
        ({"tasks": ["a", {"task": "b", "weight": 1}]}, "tasks", "give every task a weight, or none"),
        ({"loss": "all", "batching": "shared_prefix"}, "batching", "use `loss: completion`, or `batching: packed`"),
    ],
)
def test_every_mistake_is_said_at_its_key_and_alone(data: dict, key: str, message: str) -> None:
    found = wrong({**LEAST, **data})
    assert list(found) == [key] and message in found[key]


def test_what_must_be_there() -> None:
    found = wrong({})
    assert set(found) == {"model", "tasks"}
    assert found["model"].startswith("is missing: Base model: folder, hub name, or `demo`")


def test_rules_between_keys_are_checked_although_other_keys_are_wrong() -> None:
    data = {
        "tasks": ["a", {"task": "b", "weight": 1}, {"cap": 0}],
        "loss": "all",
        "batching": "shared_prefix",
        "lora": {"r": 0, "target_modules": [1]},
        "replay": {"source": "x", "instructions": "y", "spilt": "train"},
        "modle": "x",
    }
    assert set(wrong(data)) == {
        *("model", "modle", "tasks", "tasks.2.task", "tasks.2.cap", "batching", "lora.r", "lora.target_modules.0"),
        *("replay.instructions", "replay.spilt"),
    }


def test_nothing_is_changed_after_reading() -> None:
    config = TrainConfig.model_validate(LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
