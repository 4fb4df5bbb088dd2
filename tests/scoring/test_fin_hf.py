"""`fin_hf` against lm-eval's own `hf` class: the same scores from fewer computed tokens."""

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from transformers import LlamaConfig, LlamaForCausalLM

from fin_plugins.common.errors import FinError
from fin_plugins.compat.lm_eval.models import score_tokens
from fin_plugins.scoring.fin_hf import FinHF
from tests.scoring.factories import SIZES, VOCABULARY, close, instances, save_tiny

LABELS = [" up", " down", " d", " do", " unchanged", " up"]  # prefixes of one another, one token, two equal
STEM = "What happened to the gold price? Answer up, down or unchanged. " * 2
TEXTS = [
    STEM,
    STEM + "It rose.",
    STEM + "It fell, then rose, then fell again, and closed where it began.",
    "Gold:",
    "x",
]
PAIRS = [(text, label) for text in TEXTS for label in LABELS]


@pytest.fixture(scope="module")
def folder(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = LlamaConfig(
        **SIZES, num_key_value_heads=2, vocab_size=VOCABULARY, max_position_embeddings=256, initializer_range=0.4
    )
    return save_tiny(tmp_path_factory.mktemp("tiny"), tiny_models["base"], LlamaForCausalLM, config)


@pytest.fixture(scope="module")
def ours(folder: Path) -> FinHF:
    return FinHF(pretrained=str(folder), device="cpu", batch_size=3)


@pytest.fixture(scope="module")
def stock(folder: Path) -> HFLM:
    # lm-eval's cache of logits takes the wrong position where one request's context is another's context and label.
    return HFLM(pretrained=str(folder), device="cpu", batch_size=3, logits_cache=False)


tokens = st.integers(0, VOCABULARY - 1)
few = st.integers(5, 8)  # a small alphabet: labels that are prefixes of one another, and equal ones
contexts = st.tuples(st.integers(0, 90), st.lists(tokens, max_size=12), few).map(
    lambda parts: [(7 * index) % VOCABULARY for index in range(parts[0])] + parts[1] + [parts[2]]
)
labels = st.lists(st.lists(few, min_size=1, max_size=4), min_size=1, max_size=7)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(st.tuples(contexts, labels), min_size=1, max_size=7), size=st.integers(1, 4))
def test_random_tries_after_random_contexts(ours: FinHF, stock: HFLM, documents: list, size: int) -> None:
    ours.batch_size_per_gpu = size
    requests = [(("", ""), context, label) for context, choices in documents for label in choices]
    answers = score_tokens(ours, requests, silent=True)
    assert close(answers, score_tokens(stock, requests, silent=True))
    assert ours.tree_incompatibility() == ""


@pytest.mark.parametrize("size", [1, 2, 8, "auto"])
def test_texts_of_very_different_lengths(folder: Path, stock: HFLM, size: int | str) -> None:
    requests = instances([*PAIRS, ("", " up"), ("", " down"), ("ends in space \n ", "up"), (" ", "up")])
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=size)
    answers = ours.loglikelihood(requests, disable_tqdm=True)
    assert close(answers, stock.loglikelihood(requests, disable_tqdm=True))
    assert not ours.fallback_reasons


def test_greedy_continuations_are_recognised(ours: FinHF, stock: HFLM) -> None:
    context = stock.tok_encode(STEM)
    text = list(context)
    for _ in range(4):
        text.append(int(stock._model_call(torch.tensor([text]))[0, -1].argmax()))
    greedy_tokens = text[len(context) :]
    other = [*greedy_tokens[:3], (greedy_tokens[3] + 1) % VOCABULARY]
    labels = (greedy_tokens, greedy_tokens[:1], greedy_tokens[:3], other, [other[-1]])
    requests = [(("", ""), context, label) for label in labels]
    answers = score_tokens(ours, requests, silent=True)
    assert close(answers, score_tokens(stock, requests, silent=True))
    assert [greedy for _, greedy in answers] == [True, True, True, False, False]


@pytest.mark.parametrize(
    "setting", [{"attn_implementation": "eager"}, {"dtype": "bfloat16"}, {"softmax_dtype": "float64"}]
)
def test_attention_and_data_types(folder: Path, setting: dict[str, str]) -> None:
    requests = instances(PAIRS)
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=4, **setting)
    expected_scores = HFLM(pretrained=str(folder), device="cpu", batch_size=4, **setting).loglikelihood(requests)
    tolerance = 0.5 if setting == {"dtype": "bfloat16"} else 1e-4
    pairs = zip(ours.loglikelihood(requests), expected_scores, strict=True)
    assert all(abs(score - expected) <= tolerance for (score, _), (expected, _) in pairs)
    assert ours.tree_incompatibility() == ""


@pytest.mark.parametrize(("size", "passes"), [(3, 2), (1, 6)])
def test_shared_tokens_are_computed_once(ours: FinHF, size: int, passes: int) -> None:
    shapes: list[tuple[int, int]] = []
    handle = ours.model.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    ours.batch_size_per_gpu = size
    assert ours.tree_incompatibility() == ""
    shapes.clear()
    try:
        requests = [(("", ""), [*range(100), 200 + text], [9, label]) for text in range(6) for label in (1, 2, 3)]
        score_tokens(ours, requests, silent=True)
    finally:
        handle.remove()
    # The shared 100 tokens; then each document's root (the context's last token) and its one inner node.
    assert shapes == [(1, 100)] + passes * [(size, 2)]


def test_batches_shrink_when_memory_runs_out(ours: FinHF, stock: HFLM) -> None:
    sizes: list[int] = []

    def small_device(_: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    ours.batch_size_per_gpu = 5
    assert ours.tree_incompatibility() == ""
    requests = instances([(STEM + end, label) for end in "abcde" for label in LABELS])
    handle = ours.model.register_forward_pre_hook(small_device, with_kwargs=True)
    try:
        answers = ours.loglikelihood(requests, disable_tqdm=True)
    finally:
        handle.remove()
    assert close(answers, stock.loglikelihood(requests, disable_tqdm=True))
    assert max(sizes) == 5
    assert sizes.count(5) == 1


@pytest.mark.parametrize(("setting", "rows"), [({}, 16), ({"max_batch_size": 32}, 20)])
def test_automatic_batches_are_small_on_a_cpu(folder: Path, setting: dict[str, int], rows: int) -> None:
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size="auto", **setting)
    assert ours.tree_incompatibility() == ""
    widths: list[int] = []
    ours.model.register_forward_pre_hook(
        lambda _, __, inputs: widths.append(len(inputs["input_ids"])), with_kwargs=True
    )
    score_tokens(ours, [(("", ""), [1, 2, text], [3]) for text in range(20)], silent=True)
    assert max(widths) == rows


def test_labels_of_many_nodes_make_small_batches(ours: FinHF, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fin_plugins.scoring.hf_passes.MAX_LOGITS", 10 * VOCABULARY)
    widths: list[int] = []
    handle = ours.model.register_forward_pre_hook(
        lambda _, __, inputs: widths.append(len(inputs["input_ids"])), with_kwargs=True
    )
    ours.batch_size_per_gpu = 8
    assert ours.tree_incompatibility() == ""
    widths.clear()
    try:  # four nodes a document
        score_tokens(ours, [(("", ""), [1, 2, text], [1, 2, 3, 4]) for text in range(5)], silent=True)
    finally:
        handle.remove()
    assert widths == [2, 2, 1]


def test_truncated_prompts_are_counted_and_scored_as_by_lm_eval(folder: Path) -> None:
    ours, stock = (kind(pretrained=str(folder), device="cpu", batch_size=4, max_length=96) for kind in (FinHF, HFLM))
    requests = instances(PAIRS)
    lengths = {text: max(len(ours.tok_encode(text + label)) for label in LABELS) for text in TEXTS}
    too_long = [text for text in TEXTS if lengths[text] > 97]
    assert 0 < len(too_long) < len(TEXTS)
    assert close(ours.loglikelihood(requests), stock.loglikelihood(requests))
    assert ours.truncated == {"task": len(too_long)}
    exact = [
        (("", ""), list(range(95)), [1, 2]),
        (("", ""), list(range(95)), [1, 3]),
    ]  # 97 tokens: the last is not read
    assert close(score_tokens(ours, exact), score_tokens(stock, exact))
    assert ours.fallback_reasons == {"longer than the model's context"}


def test_truncated_generation_prompts_are_counted(folder: Path) -> None:
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=2, max_length=96)
    limits = {"until": ["\n"], "max_gen_toks": 8}
    prompt = "y" * 87  # with BOS 88 = 96 - 8
    requests = instances([(prompt, limits), (prompt + "y", limits), ("z", limits)], "generate_until", "gen")
    replies = ours.generate_until(requests, disable_tqdm=True)
    assert ours.truncated == {"gen": 1}
    stock = HFLM(pretrained=str(folder), device="cpu", batch_size=1, max_length=96)
    assert replies == stock.generate_until(requests)
    assert ours.get_model_info()["fin"] == {"truncated": {"gen": 1}, "pruned": False}


def test_rolling_requests_go_to_lm_eval(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    requests = instances([(STEM * 3,), ("short",)], "loglikelihood_rolling")
    ours, stock = (kind(pretrained=str(folder), device="cpu", batch_size=2) for kind in (FinHF, HFLM))
    with caplog.at_level(logging.WARNING, "fin_plugins"):
        assert ours.loglikelihood_rolling(requests) == stock.loglikelihood_rolling(requests)
    assert not [record for record in caplog.records if record.name.startswith("fin_plugins")]


def test_a_continuation_without_tokens_fails_as_in_lm_eval(ours: FinHF, stock: HFLM) -> None:
    for model in (ours, stock):
        with pytest.raises(AssertionError):
            model.loglikelihood(instances([("text", "")]), disable_tqdm=True)


def test_no_requests(ours: FinHF) -> None:
    assert ours.loglikelihood([], disable_tqdm=True) == []


def test_answers_go_into_lm_evals_cache(ours: FinHF, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache.db")
    hook = ours.cache_hook
    try:
        first = CachingLM(ours, cache).loglikelihood(instances(PAIRS[:6]))
        CachingLM(ours, cache)  # sets the hook, which writes while requests run
        more = ours.loglikelihood(instances(PAIRS[6:12]))
    finally:
        ours.set_cache_hook(hook)
    calls: list[object] = []
    handle = ours.model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        assert CachingLM(ours, cache).loglikelihood(instances(PAIRS[:12])) == first + more
    finally:
        handle.remove()
        ours.set_cache_hook(hook)
    assert not calls


def test_label_logprobs_agree_with_scores(ours: FinHF) -> None:
    context, label = ours.tok_encode(STEM), ours.tok_encode(" down", add_special_tokens=False)
    (logprobs,) = ours.label_logprobs([context + label])
    assert len(logprobs) == len(context) + len(label) - 1
    requests = [(("", ""), context, label), (("", ""), context, label[:1])]
    (score, _), _ = score_tokens(ours, requests, silent=True)
    assert sum(logprobs[-len(label) :]) == pytest.approx(score, abs=1e-4)


def test_pruning_is_rejected(ours: FinHF) -> None:
    assert FinHF.supports_prune is False
    ours.prune = False
    with pytest.raises(FinError, match="--prune"):
        ours.prune = True


STRINGS = st.lists(st.text(max_size=8) | st.sampled_from(["<s>", "<s> a", " ", "", "</s>"]), max_size=6)


@pytest.mark.parametrize("bos", [None, True, False])
@pytest.mark.parametrize("name", ["base", "demo"])
def test_batch_encoding_equals_single_encoding(
    name: str, bos: bool | None, folder: Path, demo_model_path: Path
) -> None:
    tokenizer = str(demo_model_path if name == "demo" else folder)
    model = FinHF(pretrained=str(folder), tokenizer=tokenizer, device="cpu", add_bos_token=bos)

    @settings(max_examples=40, deadline=None)
    @given(strings=STRINGS)
    def same(strings: list[str]) -> None:
        assert model.encode_strings(strings) == [model.tok_encode(text) for text in strings]
        bare = model.encode_strings(strings, add_special_tokens=False)
        assert bare == [model.tok_encode(text, add_special_tokens=False) for text in strings]

    same()
