"""`fin_vllm` against lm-eval's own way on the same engine: one real engine in float32, with room for adapters."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from fin_plugins.tasks.requests import requests_of
from tests.scoring.prompts import tiny_adapter

vllm = pytest.importorskip("vllm", reason="vLLM is not installed here")
TOLERANCE = 1e-4  # nats
ROOM = 1024  # tokens


@pytest.fixture(scope="module")
def adapters(demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny_adapter(demo_model_path, folder / f"seed{seed}", seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def lm(demo_model_path: Path) -> Iterator[Any]:
    from fin_plugins.scoring.vllm import FinVLLM

    lm = FinVLLM(
        pretrained=str(demo_model_path),
        dtype="float32",
        max_model_len=ROOM,
        enforce_eager=True,
        enable_lora=True,
        max_lora_rank=8,
        lora_target_modules=["q_proj", "v_proj"],
    )
    yield lm
    lm.shutdown()


@contextmanager
def stock(lm: Any) -> Iterator[Any]:
    """The same engine behind lm-eval's own class."""
    from lm_eval.models.vllm_causallms import VLLM

    ours = type(lm)
    lm.__class__ = VLLM
    try:
        yield lm
    finally:
        lm.__class__ = ours


def ask(context: str, *continuations: str, task: str = "mine", doc: int = 0) -> list[Instance]:
    return [
        Instance("loglikelihood", {}, (context, continuation), index, metadata=(task, doc, 1))
        for index, continuation in enumerate(continuations)
    ]


def check_same(lm: Any, requests: list[Instance]) -> list[tuple[float, bool]]:
    ours = lm.loglikelihood(requests, disable_tqdm=True)
    with stock(lm):
        theirs = lm.loglikelihood(requests, disable_tqdm=True)
    assert [score for score, _ in ours] == pytest.approx([score for score, _ in theirs], abs=TOLERANCE)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    return ours


@pytest.mark.parametrize(
    ("task", "documents"), [("fin_fomc", 2), ("fin_headline", 2), ("fin_deal", 2), ("fin_finred", 1)]
)
def test_rows_score_as_lm_eval_scores_them(lm: Any, sample_data: None, task: str, documents: int) -> None:
    requests = requests_of(lm, task, documents)
    before = dict(lm.asked)
    check_same(lm, requests)
    assert lm.asked["documents"] - before["documents"] == documents


def test_stopping_early_gives_the_same_decisions_and_marks_bounds(lm: Any, sample_data: None) -> None:
    requests = requests_of(lm, "fin_finred", 5)
    exact = lm.loglikelihood(requests, disable_tqdm=True)
    nodes = lm.asked["nodes"]
    lm.prune = True
    try:
        pruned = lm.loglikelihood(requests, disable_tqdm=True)
    finally:
        lm.prune = False
    assert lm.asked["nodes"] - nodes < 5 * 12
    for start in range(0, len(requests), 29):
        truth, stopped = exact[start : start + 29], pruned[start : start + 29]
        best = max(truth)[0]
        assert max(stopped)[0] == pytest.approx(best, abs=TOLERANCE)
        assert [s for s, _ in stopped].index(max(stopped)[0]) == [s for s, _ in truth].index(best)
        assert any(greedy is None for _, greedy in stopped)
        assert all(bound >= score - TOLERANCE for (bound, _), (score, _) in zip(stopped, truth, strict=True))


def test_any_multiple_choice_request(lm: Any) -> None:
    check_same(lm, ask("The capital of France is", " Paris", " Pa", " Paris", " London", ", I think, Paris"))
    check_same(lm, ask("Trailing space is moved to the choice: ", "up", "down", "upward"))
    check_same(lm, [*ask("", " yes", " no"), *ask("", "<|im_start|>user", doc=1)])
    many = [f" {number}" for number in range(100, 240)]
    assert len({lm.tok_encode(text, add_special_tokens=False)[0] for text in many}) < len(many)
    check_same(lm, ask("My favourite number is", *many))


def test_a_node_of_more_edges_than_vllm_takes_at_once(lm: Any) -> None:
    context = lm.tok_encode("One word:")
    requests = [(("One word:", str(token)), context, [token]) for token in range(300, 500)]
    scores = [score for score, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)]
    with stock(lm):
        theirs = [score for score, _ in lm._loglikelihood_tokens(requests[::50], disable_tqdm=True)]
    assert scores[::50] == pytest.approx(theirs, abs=TOLERANCE)


def test_what_greedy_decoding_writes_is_greedy(lm: Any) -> None:
    context = "Stocks fell on Monday after the central bank raised"
    written = lm.generate_until([Instance("generate_until", {}, (context, {"until": [], "max_gen_toks": 3}), 0)])[0]
    scored = check_same(lm, ask(context, written, " pigs", written + " pigs"))
    assert [greedy for _, greedy in scored] == [True, False, False]


def test_what_does_not_fit_goes_lm_evals_way_and_is_said_once(lm: Any, caplog: pytest.LogCaptureFixture) -> None:
    endings = [
        f" he {verb} slowly towards the old harbour while it was raining cats and dogs" for verb in ("ran", "sat")
    ]
    lm._said.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            check_same(lm, ask("Then", *endings))
            lm._loglikelihood_tokens([(("a", ""), [5], []), (("a", "b"), [5], [6])], disable_tqdm=True)
    said = [record.message for record in caplog.records if record.message.startswith("fin_vllm")]
    assert len(said) == 2
    assert "one pass a choice is less work" in said[0]
    assert "without tokens" in said[1]


def test_a_prompt_that_is_cut_is_counted(lm: Any) -> None:
    lm.truncated.clear()
    check_same(lm, [*ask("word " * (ROOM + 50), " up", " down"), *ask("short", " up", " down", doc=1)])
    generation = Instance("generate_until", {}, ("word " * ROOM, {"max_gen_toks": 4}), 0, ("written", 0, 1))
    lm.generate_until([generation], disable_tqdm=True)
    assert lm.get_model_info() == {"fin": {"truncated": {"mine": 1, "written": 1}, "pruned": False}}
    lm.truncated.clear()


def test_whole_texts_are_lm_evals_business(lm: Any) -> None:
    request = Instance("loglikelihood_rolling", {}, ("Shares of the company rose by 4 per cent.",), 0)
    ours = lm.loglikelihood_rolling([request], disable_tqdm=True)
    with stock(lm):
        assert ours == lm.loglikelihood_rolling([request], disable_tqdm=True)


def test_adapters_answer_as_peft_does_and_the_base_stays_the_base(
    lm: Any, adapters: list[Path], demo_model_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from fin_plugins.scoring.adapters import read_adapter

    text = lm.tok_encode("The Federal Reserve left rates unchanged and markets hardly moved at all.")
    base = AutoModelForCausalLM.from_pretrained(demo_model_path, dtype=torch.float32)
    answers = {}
    lm.use_adapter(None)
    answers["base"] = lm.label_logprobs([text])[0]
    for path in [*adapters, adapters[0]]:
        lm.use_adapter(read_adapter(path.name, path))
        given = lm.label_logprobs([text])[0]
        assert answers.setdefault(path.name, given) == given
        request = check_same(lm, ask("Rates were", " cut", " held", " raised again"))
        assert answers.setdefault(f"{path.name} labels", request) == request
    lm.use_adapter(None)
    assert lm.label_logprobs([text])[0] == answers["base"]
    assert len({tuple(answers[name]) for name in ("base", *(path.name for path in adapters))}) == 3
    for path in adapters:
        model = PeftModel.from_pretrained(base, path)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([text])).logits[0, :-1].float(), -1)
        expected = logprobs.gather(1, torch.tensor(text[1:])[:, None])[:, 0].tolist()
        assert answers[path.name] == pytest.approx(expected, abs=1e-3)
        base = model.unload()
