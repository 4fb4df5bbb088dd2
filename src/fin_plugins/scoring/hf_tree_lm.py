"""lm-eval's `hf` with token scoring replaced by passes over entire label tries, for models that allow it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from fin_plugins.compat.lm_eval.hf import HookedHF
from fin_plugins.compat.lm_eval.models import TokenRequest
from fin_plugins.scoring.documents import ScoringPlan, plan_documents
from fin_plugins.scoring.hf_passes import DocumentOutput, DocumentScorer, ReplyRequest
from fin_plugins.scoring.label_trie import Document, Tokens
from fin_plugins.scoring.prefix_batches import order_documents
from fin_plugins.scoring.tree_attention import mask_dtype
from fin_plugins.scoring.tree_equivalence import TOLERANCE, exact_length, rope_exact_length, tree_error

log = logging.getLogger(__name__)

# With batch_size=auto. A CPU gains nothing from larger batches (benchmarks/RESULTS.md), and when its memory runs out
# the process dies before a smaller batch can be tried.
_CPU_BATCH_SIZE = 16


class TreeHF(HookedHF):
    """Scores requests that share a context together; other requests fall back to lm-eval, logged once per reason."""

    on_answers: Callable[[int], None] | None = None
    """Called with the number of requests just answered, instead of a progress bar; None for the bar."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._max_batch_size: int | None = settings.get("max_batch_size")
        self.fallback_reasons: set[str] = set()
        """Why requests have fallen back to lm-eval so far."""
        self._tree_incompatibility: str | None = None

    def score_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """As lm-eval's, in fewer passes."""
        if any(key is None for key, _, _ in requests):  # windows of loglikelihood_rolling: texts without labels
            return self._score_by_lm_eval(requests, disable_tqdm, override_bs)
        plan = self._plan(requests)
        answers: dict[int, tuple[float, bool]] = {}
        total = sum(len(document.requests) for document in plan.documents)
        hidden = disable_tqdm or self.rank != 0 or not total or self.on_answers is not None
        with tqdm(total=total, disable=hidden, desc="Scoring labels") as bar:
            for document, output in self._score_documents(plan.documents, {}):
                for index, answer in zip(document.requests, output.scores(document.trie), strict=True):
                    answers[index] = answer
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], answer)
                (self.on_answers or bar.update)(len(document.requests))
        for reason, indices in plan.fallback.items():
            self._log_fallback(len(indices), reason)
            scores = self._score_by_lm_eval([requests[index] for index in indices], disable_tqdm, override_bs)
            answers.update(zip(indices, scores, strict=True))
        return [answers[index] for index in range(len(requests))]

    def tree_incompatibility(self) -> str:
        """Why this model cannot be scored through tries, empty if it can; tried once."""
        if self._tree_incompatibility is None:
            try:
                vocabulary = min(self._text_config.vocab_size, len(self.tokenizer))
                error = tree_error(self._document_scorer(), self._plain_logits, vocabulary)
            except Exception as exception:  # whatever an architecture does with inputs it was not written for
                reason = f"this model takes no tree masks ({type(exception).__name__}: {exception})".splitlines()[0]
            else:
                tolerated = error <= TOLERANCE.get(self._dtype, max(TOLERANCE.values()))
                reason = "" if tolerated else f"this model's passes with a tree mask are off by {error:.2g}"
            self._tree_incompatibility = reason
        return self._tree_incompatibility

    def _score_by_lm_eval(
        self, requests: list[TokenRequest], disable_tqdm: bool, override_bs: int | None
    ) -> list[tuple[float, bool]]:
        """lm-eval's own scores, text by text if a longer neighbour in the batch would change them."""

        def score(subset: list[TokenRequest], silent: bool = disable_tqdm) -> list[tuple[float, bool]]:
            return HookedHF.score_tokens(self, subset, disable_tqdm=silent, override_bs=override_bs)

        bound = rope_exact_length(self._text_config)
        long_texts: dict[Tokens, list[int]] = {}  # by model input: lm-eval computes equal inputs once
        for index, (_, context, continuation) in enumerate(requests):
            if bound and len(context) + len(continuation) > bound:
                long_texts.setdefault((*context, *continuation[:-1]), []).append(index)
        if not long_texts:
            return score(requests)
        long = {index for indices in long_texts.values() for index in indices}
        short = [index for index in range(len(requests)) if index not in long]
        answers = dict(zip(short, score([requests[index] for index in short]), strict=True)) if short else {}
        for indices in long_texts.values():
            with self._single_text_batches():
                answers.update(zip(indices, score([requests[index] for index in indices], True), strict=True))
        return [answers[index] for index in range(len(requests))]

    @contextmanager
    def _single_text_batches(self) -> Iterator[None]:
        """One text per batch, at the rotary angles of its own length."""
        size: Any = self.batch_size
        self.batch_size_per_gpu: Any = 1
        try:
            # `dynamic` rotary embeddings keep the angles of the longest text until a short one comes.
            self._plain_logits((0,))
            yield
        finally:
            self.batch_size_per_gpu = size
            self._plain_logits((0,))

    def _score_documents(
        self, documents: Sequence[Document], replies: Mapping[Tokens, ReplyRequest]
    ) -> Iterator[tuple[Document, DocumentOutput]]:
        """Yield every document with its output; `replies`, by context, are generated in the same passes."""
        default = _CPU_BATCH_SIZE if self.device.type == "cpu" else self.max_batch_size
        size = int((self._max_batch_size or default) if self.batch_size == "auto" else self.batch_size)
        ordered = order_documents(documents)
        return self._document_scorer().score(ordered, size, self.softmax_dtype, replies=replies)

    def _plan(self, requests: list[TokenRequest]) -> ScoringPlan:
        plan = ScoringPlan()
        if reason := self._unsupported_setup():
            plan.add_fallback(reason, range(len(requests)))
        else:
            plan = plan_documents(requests, self.max_length + 1, self._cost)
        if plan.documents and (reason := self.tree_incompatibility()):
            _move_to_fallback(plan, plan.documents, reason)
        if plan.documents and (bound := exact_length(self._text_config)):
            long = [document for document in plan.documents if _longest_text(document) > bound]
            _move_to_fallback(plan, long, f"longer than {bound} tokens, where this model's attention changes")
        return plan

    def _unsupported_setup(self) -> str:
        """Why no request can avoid lm-eval's own code, whatever the model; empty if requests can."""
        if self.backend != "causal":
            return "an encoder-decoder model has no cache of the context"
        # lm-eval waits for all processes when it looks for a batch size, so all of them or none must get there.
        distributed = self.batch_size == "auto" and self.world_size > 1
        return "batch_size=auto with several processes" if distributed else ""

    def _cost(self, document: Document) -> tuple[int, int]:
        """Positions computed by the trie and by lm-eval; one whose vocabulary is computed counts twice."""
        length, continuations = len(document.context), document.trie.continuations
        nodes = len(document.trie.edges)
        inputs = [continuation[:-1] for continuation in continuations]
        passes = set(inputs) if self.logits_cache else inputs
        return length + nodes - 1 + nodes, 2 * sum(length + len(tokens) for tokens in passes)

    def _document_scorer(self) -> DocumentScorer:
        mask = mask_dtype(self._text_config, self._dtype)
        return DocumentScorer(self._call_model, self.device, mask, self._text_config.vocab_size)

    def _call_model(self, **inputs: Any) -> torch.Tensor:
        device, dtype = self.device.type, self.mixed_precision_dtype
        with torch.no_grad(), torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            return self.model(**inputs).logits

    def _plain_logits(self, tokens: Tokens) -> torch.Tensor:
        """Logits [length, vocabulary] of a text, as lm-eval computes them."""
        return self.logits(torch.tensor([tokens], device=self.device))[0]

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config()

    @property
    def _dtype(self) -> torch.dtype:
        return self.mixed_precision_dtype or self.model.get_input_embeddings().weight.dtype

    def _log_fallback(self, count: int, reason: str) -> None:
        if reason not in self.fallback_reasons:
            self.fallback_reasons.add(reason)
            log.warning("fin_hf: %d requests fall back to lm-eval's own code: %s", count, reason)


def _move_to_fallback(plan: ScoringPlan, documents: list[Document], reason: str) -> None:
    moved = {document.requests for document in documents}
    plan.documents = [document for document in plan.documents if document.requests not in moved]
    if moved:
        plan.add_fallback(reason, [index for requests in moved for index in requests])


def _longest_text(document: Document) -> int:
    return len(document.context) + max(map(len, document.trie.continuations))
