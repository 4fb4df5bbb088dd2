"""Checks before the first score, with real tokenizers and tasks: BOS, labels, pruning, rows trained on."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.evaluation.prelaunch_checks import check_bos, check_labels, check_prompts, check_prune

PROMPT = "Classify the sentence.\nSentence: Net sales rose by 5 %.\nlabel:"


@pytest.fixture(scope="module")
def smol(demo_model_path: Path) -> Callable[..., HFLM]:
    """lm-eval's tokenization with the demo model's tokenizer."""
    return lambda **settings: _encoder(demo_model_path, **settings)


@pytest.fixture(scope="module")
def with_bos(tiny_models: dict[str, Path]) -> Callable[..., HFLM]:
    """lm-eval's tokenization with a tokenizer that adds BOS."""
    return lambda **settings: _encoder(tiny_models["llama3"], **settings)


def _encoder(folder: Path, add_bos_token: bool | None = None, prefix_token_id: int | None = None) -> HFLM:
    """lm-eval's class without weights, for its tokenization."""
    from transformers import AutoTokenizer

    lm = HFLM.__new__(HFLM)
    lm.tokenizer = AutoTokenizer.from_pretrained(folder)
    lm.backend = "causal"
    lm.add_bos_token = add_bos_token
    lm.custom_prefix_token_id = prefix_token_id
    lm._device = "cpu"
    return lm


def _requests(prompts: list[str], labels: list[str], kind: str = "loglikelihood") -> list[Instance]:
    second_argument: Callable[[str], Any] = (lambda label: {"until": [label]}) if kind == "generate_until" else str
    return [
        Instance(kind, {}, (prompt, second_argument(label)), index, metadata=("fin_test", number, 1))
        for number, prompt in enumerate(prompts)
        for index, label in enumerate(labels)
    ]


def test_real_task_prompts_pass(smol: Callable[..., HFLM], with_bos: Callable[..., HFLM]) -> None:
    for lm in (smol(), with_bos()):
        check_prompts("fin_test", _requests([PROMPT, PROMPT], [" positive", " negative", " neutral"]), lm)
        check_prompts("fin_test", _requests([PROMPT], ["\n"], "generate_until"), lm)
        check_prompts("fin_test", _requests([""], [" positive", " negative"]), lm)


def test_labels_that_lose_their_difference(smol: Callable[..., HFLM]) -> None:
    """Without a space `:-` is one token, so that "-1" becomes "1"."""
    lm = smol()
    check_labels("fin_test", PROMPT, [" 1", " 0", " -1"], lm._encode_pair)
    with pytest.raises(FinError, match=r"task fin_test: .*labels '1' and '-1' after .* have the same tokens, \["):
        check_labels("fin_test", PROMPT, ["1", "0", "-1"], lm._encode_pair)
    check_labels("fin_test", PROMPT + " ", ["1", "0", "-1"], lm._encode_pair)  # lm-eval moves the space to the label


def test_a_label_that_merges_with_the_prompt(smol: Callable[..., HFLM]) -> None:
    with pytest.raises(FinError, match=r"the label '-' after .* has no token of its own.*leave a space"):
        check_labels("fin_test", PROMPT, ["+", "-"], smol()._encode_pair)


def test_equal_labels_are_one_label(smol: Callable[..., HFLM]) -> None:
    check_labels("fin_test", PROMPT, [" up", " up", " down"], smol()._encode_pair)


def test_every_label_set_is_checked(smol: Callable[..., HFLM]) -> None:
    good = _requests([PROMPT] * 3, [" 1", " -1"])
    (bad,) = _requests([PROMPT], ["-"])
    bad.metadata = ("fin_test", 7, 1)
    bad.__post_init__()
    with pytest.raises(FinError, match="the label '-'"):
        check_prompts("fin_test", [*good, bad], smol())


def test_every_last_character_of_a_prompt_is_checked(smol: Callable[..., HFLM]) -> None:
    """The same labels, valid after a word but merged with a colon."""
    with pytest.raises(FinError, match="the label '-'"):
        check_prompts("fin_test", _requests(["label", "label:"], ["-", "+"]), smol())


def test_labels_that_a_tokenizer_normalises_to_one(demo_model_path: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_file(str(demo_model_path / "tokenizer.json"))
    backend.normalizer = normalizers.Lowercase()

    def encode_pair(context: str, label: str) -> tuple[list[int], list[int]]:
        joined, prefix = (backend.encode(text).ids for text in (context + label, context))
        return prefix, joined[len(prefix) :]

    with pytest.raises(FinError, match="labels ' IT' and ' it'"):
        check_labels("fin_test", PROMPT, [" IT", " it"], encode_pair)


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])
def test_two_bos(with_bos: Callable[..., HFLM], kind: str) -> None:
    """lm-eval omits its BOS only if the text starts with exactly its prefix token."""
    bos = with_bos().tokenizer.bos_token
    check_prompts("fin_test", _requests([bos + PROMPT], [" a", " b"], kind), with_bos())
    for lm, text in ((with_bos(), f"\n{bos}"), (with_bos(prefix_token_id=1), bos), (with_bos(), bos + bos)):
        with pytest.raises(FinError, match=r"two BOS tokens \('<\|begin_of_text\|>'\).*add_bos_token=False"):
            check_prompts("fin_test", _requests([text + PROMPT], [" a", " b"], kind), lm)


def test_missing_bos(with_bos: Callable[..., HFLM], smol: Callable[..., HFLM]) -> None:
    with pytest.raises(FinError, match=r"does not start with BOS .*add_bos_token=True.*--apply_chat_template"):
        check_prompts("fin_test", _requests([PROMPT], [" a", " b"]), with_bos(add_bos_token=False))
    check_prompts("fin_test", _requests([PROMPT], [" a", " b"]), smol(add_bos_token=False))


def test_a_bos_that_also_opens_turns(smol: Callable[..., HFLM]) -> None:
    """SmolLM2's BOS opens every turn of its chat template, so two with text between are valid."""
    lm = smol()
    turns = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    prompt = lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert lm.tok_encode(prompt).count(lm.tokenizer.bos_token_id) == 3
    check_bos(lm.tok_encode(prompt), lm.tokenizer)


def test_nothing_to_check() -> None:
    check_bos([], SimpleNamespace(bos_token_id=1))
    check_bos([5, 6], SimpleNamespace(bos_token_id=None))


PLAIN_TASK = """\
task: plain
custom_dataset: !function rows.load
output_type: {kind}
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_target: gold
{more}
metric_list: [{metrics}]
"""
ROWS_MODULE = """\
import datasets

def load(**_):
    row = {"text": "Up?", "choices": ["yes", "no"], "gold": 0}
    return datasets.DatasetDict({"test": datasets.Dataset.from_list([row])})

def custom_results(doc, results):
    return {"acc": 1.0}
"""


@pytest.fixture
def tasks(tmp_path: Path, sample_data: None) -> Callable[..., dict[str, Any]]:
    """A function that loads tasks by name; `plain` is built from the arguments."""

    def load(name: str, kind: str = "multiple_choice", metrics: str = "{metric: acc}", more: str = "") -> dict:
        from lm_eval.tasks import TaskManager

        (tmp_path / "rows.py").write_text(ROWS_MODULE)
        more += "\ndoc_to_choice: choices" if kind == "multiple_choice" else ""
        (tmp_path / "plain.yaml").write_text(PLAIN_TASK.format(kind=kind, metrics=metrics, more=more))
        folders = [str(task_folder()), str(tmp_path)]
        return TaskManager(include_defaults=False, include_path=folders).load([name])["tasks"]

    return load


def test_our_tasks_can_be_pruned(tasks: Callable[..., dict[str, Any]]) -> None:
    loaded = tasks("fin") | tasks("fin_gen")
    assert len(loaded) == 16
    check_prune(loaded, "fin_vllm")


@pytest.mark.parametrize(
    ("kind", "metrics", "more"),
    [
        ("multiple_choice", "{metric: acc}, {metric: acc_norm}", ""),
        ("multiple_choice", "{metric: acc}", ""),  # lm-eval fails on it: see below
        ("multiple_choice", "{metric: brier_score}", ""),
        ("loglikelihood", "{metric: perplexity}", ""),
        ("multiple_choice", "{metric: acc}", "process_results: !function rows.custom_results"),
    ],
)
def test_metrics_that_may_need_all_scores_are_rejected(
    kind: str, metrics: str, more: str, tasks: Callable[..., dict[str, Any]]
) -> None:
    metric = metrics.split("metric: ")[-1].strip("}")
    with pytest.raises(FinError, match=rf"--prune: task plain reports .*{metric}.*leave --prune out"):
        check_prune(tasks("plain", kind, metrics, more), "fin_vllm")


def test_tasks_without_labels_can_be_pruned(tasks: Callable[..., dict[str, Any]]) -> None:
    check_prune(tasks("plain", "generate_until", "{metric: exact_match}"), "fin_vllm")
    check_prune(tasks("plain", "loglikelihood_rolling", "{metric: word_perplexity}"), "fin_vllm")


def test_a_class_without_pruning_is_rejected() -> None:
    with pytest.raises(FinError, match="--prune: fin_hf"):
        check_prune({}, "fin_hf")


def test_why_plain_accuracy_is_rejected(tasks: Callable[..., dict[str, Any]]) -> None:
    """lm-eval needs to know whether the gold label is greedy, which is unknown for a pruned label."""
    (task,) = tasks("plain").values()
    row = {"text": "Up?", "choices": ["yes", "no"], "gold": 0}
    with pytest.raises(TypeError):
        task.process_results(row, [(-5.0, None), (-1.0, True)])
    (ours,) = tasks("fin_fomc").values()
    row = {"choices": ["a", "b"], "gold": 0}
    assert ours.process_results(row, [(-5.0, None), (-1.0, True)])["acc"] == 0.0
