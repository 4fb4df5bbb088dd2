"""`fin_vllm` against lm-eval's own code on the same engine: a single real engine in float32, with room for adapters."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from fin_plugins.compat.lm_eval.models import score_tokens
from fin_plugins.tasks.task_requests import build_requests
from tests.scoring.factories import tiny_adapter

vllm = pytest.importorskip("vllm", reason="vLLM is not installed here")
TOLERANCE = 1e-4  # nats
MAX_LENGTH = 1024  # tokens


@pytest.fixture(scope="module")
def adapters(demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny_adapter(demo_model_path, folder / f"seed{seed}", seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def lm(demo_model_path: Path) -> Iterator[Any]:
    from fin_plugins.scoring.fin_vllm import FinVLLM

    lm = FinVLLM(
        pretrained=str(demo_model_path),
        dtype="float32",
        max_model_len=MAX_LENGTH,
        enforce_eager=True,
        enable_lora=True,
        max_lora_rank=8,
        lora_target_modules=["q_proj", "v_proj"],
    )
    yield lm
    lm.shutdown()


@contextmanager
def stock(lm: Any) -> Iterator[Any]:
    """The same engine with lm-eval's own class."""
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
def test_task_rows_score_as_in_lm_eval(lm: Any, sample_data: None, task: str, documents: int) -> None:
    requests = build_requests(lm, task, documents)
    before = dict(lm.query_counts)
    check_same(lm, requests)
    assert lm.query_counts["documents"] - before["documents"] == documents


def test_pruning_gives_the_same_decisions_and_marks_bounds(lm: Any, sample_data: None) -> None:
    requests = build_requests(lm, "fin_finred", 5)
    exact = lm.loglikelihood(requests, disable_tqdm=True)
    nodes = lm.query_counts["nodes"]
    lm.prune = True
    try:
        pruned = lm.loglikelihood(requests, disable_tqdm=True)
    finally:
        lm.prune = False
    assert lm.query_counts["nodes"] - nodes < 5 * 12
    for start in range(0, len(requests), 29):
        truth, stopped = exact[start : start + 29], pruned[start : start + 29]
        best = max(truth)[0]
        assert max(stopped)[0] == pytest.approx(best, abs=TOLERANCE)
        assert [s for s, _ in stopped].index(max(stopped)[0]) == [s for s, _ in truth].index(best)
        assert any(greedy is None for _, greedy in stopped)
        assert all(bound >= score - TOLERANCE for (bound, _), (score, _) in zip(stopped, truth, strict=True))


def test_multiple_choice_requests(lm: Any) -> None:
    check_same(lm, ask("The capital of France is", " Paris", " Pa", " Paris", " London", ", I think, Paris"))
    check_same(lm, ask("Trailing space is moved to the choice: ", "up", "down", "upward"))
    check_same(lm, [*ask("", " yes", " no"), *ask("", "<|im_start|>user", doc=1)])
    many = [f" {number}" for number in range(100, 240)]
    assert len({lm.tok_encode(text, add_special_tokens=False)[0] for text in many}) < len(many)
    check_same(lm, ask("My favourite number is", *many))


def test_a_node_with_more_edges_than_vllm_takes_at_once(lm: Any) -> None:
    context = lm.tok_encode("One word:")
    requests = [(("One word:", str(token)), context, [token]) for token in range(300, 500)]
    scores = [score for score, _ in score_tokens(lm, requests, silent=True)]
    with stock(lm):
        theirs = [score for score, _ in score_tokens(lm, requests[::50], silent=True)]
    assert scores[::50] == pytest.approx(theirs, abs=TOLERANCE)


def test_greedy_text_scores_as_greedy(lm: Any) -> None:
    context = "Stocks fell on Monday after the central bank raised"
    written = lm.generate_until([Instance("generate_until", {}, (context, {"until": [], "max_gen_toks": 3}), 0)])[0]
    scored = check_same(lm, ask(context, written, " pigs", written + " pigs"))
    assert [greedy for _, greedy in scored] == [True, False, False]


def test_fallback_is_logged_once_per_reason(lm: Any, caplog: pytest.LogCaptureFixture) -> None:
    endings = [
        f" he {verb} slowly towards the old harbour while it was raining cats and dogs" for verb in ("ran", "sat")
    ]
    lm.fallback_reasons.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            check_same(lm, ask("Then", *endings))
            score_tokens(lm, [(("a", ""), [5], []), (("a", "b"), [5], [6])], silent=True)
    messages = [record.message for record in caplog.records if record.message.startswith("fin_vllm")]
    assert len(messages) == 2
    assert "less work" in messages[0]
    assert "without tokens" in messages[1]


def test_truncated_prompts_are_counted(lm: Any) -> None:
    lm.truncated.clear()
    check_same(lm, [*ask("word " * (MAX_LENGTH + 50), " up", " down"), *ask("short", " up", " down", doc=1)])
    generation = Instance("generate_until", {}, ("word " * MAX_LENGTH, {"max_gen_toks": 4}), 0, ("written", 0, 1))
    lm.generate_until([generation], disable_tqdm=True)
    assert lm.get_model_info() == {"fin": {"truncated": {"mine": 1, "written": 1}, "pruned": False}}
    lm.truncated.clear()


def test_rolling_requests_go_to_lm_eval(lm: Any) -> None:
    request = Instance("loglikelihood_rolling", {}, ("Shares of the company rose by 4 per cent.",), 0)
    ours = lm.loglikelihood_rolling([request], disable_tqdm=True)
    with stock(lm):
        assert ours == lm.loglikelihood_rolling([request], disable_tqdm=True)


def test_adapters_answer_as_in_peft_and_leave_the_base_unchanged(
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
