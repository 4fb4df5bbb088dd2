"""lm-eval's `hf` with its scoring of tokens replaced by passes over whole label tries, wherever a model allows it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from fin_plugins.compat.lm_eval.hf import HookedHF
from fin_plugins.scoring.attention_mask import mask_dtype
from fin_plugins.scoring.documents import Document, Plan, Request, plan_documents
from fin_plugins.scoring.hf_batches import in_order
from fin_plugins.scoring.hf_check import TOLERANCE, exact_length, rope_length, tree_error
from fin_plugins.scoring.hf_greedy import Reply
from fin_plugins.scoring.hf_walk import Answers, Walk
from fin_plugins.scoring.trie import Tokens

log = logging.getLogger(__name__)

# With batch_size=auto. A CPU gains nothing from larger batches (benchmarks/RESULTS.md), and where its memory does not
# suffice the process dies: no smaller batch can be tried.
CPU_BATCH = 16


class TreeHF(HookedHF):
    """Scores requests that share a context together; whatever does not fit goes lm-eval's own way, said once."""

    on_answers: Callable[[int], None] | None = None
    """Takes the number of requests just answered, in place of a bar of this class; None for the bar."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._most_wanted: int | None = settings.get("max_batch_size")
        self._said: set[str] = set()
        self._misfit: str | None = None
        """Why this model is not scored through trees: empty where it is, None before it was tried."""

    def score_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """As lm-eval's, in fewer passes."""
        if any(key is None for key, _, _ in requests):  # windows of loglikelihood_rolling: whole texts, no labels
            return self._lm_eval_s(requests, disable_tqdm, override_bs)
        plan = self._plan(requests)
        answers: dict[int, tuple[float, bool]] = {}
        total = sum(len(document.requests) for document in plan.documents)
        hidden = disable_tqdm or self.rank != 0 or not total or self.on_answers is not None
        with tqdm(total=total, disable=hidden, desc="Scoring labels") as bar:
            for document, found in self._answers(plan.documents, {}):
                for index, answer in zip(document.requests, found.scores(document.trie), strict=True):
                    answers[index] = answer
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], answer)
                (self.on_answers or bar.update)(len(document.requests))
        for reason, indices in plan.leftover.items():
            self._say_once(len(indices), reason)
            rest = [requests[index] for index in indices]
            answers.update(zip(indices, self._lm_eval_s(rest, disable_tqdm, override_bs), strict=True))
        return [answers[index] for index in range(len(requests))]

    def _lm_eval_s(
        self, requests: list[Request], disable_tqdm: bool, override_bs: int | None
    ) -> list[tuple[float, bool]]:
        """lm-eval's own answers, one text at a time where a longer neighbour in the batch would change them."""

        def ask(some: list[Request], silent: bool = disable_tqdm) -> list[tuple[float, bool]]:
            return HookedHF.score_tokens(self, some, disable_tqdm=silent, override_bs=override_bs)

        bound = rope_length(self._text_config)
        alone: dict[Tokens, list[int]] = {}  # by what goes into the model: lm-eval computes equal inputs once
        for index, (_, context, continuation) in enumerate(requests):
            if bound and len(context) + len(continuation) > bound:
                alone.setdefault((*context, *continuation[:-1]), []).append(index)
        if not alone:
            return ask(requests)
        long = {index for indices in alone.values() for index in indices}
        short = [index for index in range(len(requests)) if index not in long]
        answers = dict(zip(short, ask([requests[index] for index in short]), strict=True)) if short else {}
        for indices in alone.values():
            with self._alone():
                answers.update(zip(indices, ask([requests[index] for index in indices], True), strict=True))
        return [answers[index] for index in range(len(requests))]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One text a batch, at the angles of its own length."""
        size: Any = self.batch_size
        self.batch_size_per_gpu: Any = 1
        try:
            self._plain((0,))  # `dynamic` rotary embeddings keep the angles of the longest text until a short one comes
            yield
        finally:
            self.batch_size_per_gpu = size
            self._plain((0,))

    def _answers(
        self, documents: Sequence[Document], replies: Mapping[Tokens, Reply]
    ) -> Iterator[tuple[Document, Answers]]:
        """Every document with its answers; `replies`, by context, are written along."""
        most = CPU_BATCH if self.device.type == "cpu" else self.max_batch_size
        size = int((self._most_wanted or most) if self.batch_size == "auto" else self.batch_size)
        return self._walk().answers(in_order(documents), size, self.softmax_dtype, replies=replies)

    def _plan(self, requests: list[Request]) -> Plan:
        plan = Plan()
        if why := self._closed():
            plan.leave(why, range(len(requests)))
        else:
            plan = plan_documents(requests, self.max_length + 1, self._cost)
        if plan.documents and (why := self._unfit()):
            _leave(plan, plan.documents, why)
        if plan.documents and (most := exact_length(self._text_config)):
            long = [document for document in plan.documents if _length(document) > most]
            _leave(plan, long, f"longer than {most} tokens, where this model's attention changes")
        return plan

    def _closed(self) -> str:
        """Why nothing can be answered our way, whatever the model; empty where it can."""
        if self.backend != "causal":
            return "an encoder-decoder model has no cache of the context"
        # Finding a batch size, lm-eval waits for all processes: either all of them come there, or none.
        several = self.batch_size == "auto" and self.world_size > 1
        return "batch_size=auto over several processes" if several else ""

    def _cost(self, document: Document) -> tuple[int, int]:
        """Positions computed our way and lm-eval's way, a position whose vocabulary is computed counted twice."""
        length, continuations = len(document.context), document.trie.continuations
        nodes = len(document.trie.edges)
        inputs = [continuation[:-1] for continuation in continuations]
        passes = set(inputs) if self.logits_cache else inputs
        return length + nodes - 1 + nodes, 2 * sum(length + len(labels) for labels in passes)

    def _unfit(self) -> str:
        """Why this model cannot be scored through trees, empty where it can; tried once."""
        if self._misfit is None:
            try:
                known = min(self._text_config.vocab_size, len(self.tokenizer))
                error = tree_error(self._walk().answers, self._plain, known)
            except Exception as reason:  # whatever an architecture makes of inputs that it was not written for
                self._misfit = f"this model takes no tree masks ({type(reason).__name__}: {reason})".splitlines()[0]
            else:
                fits = error <= TOLERANCE.get(self._dtype, max(TOLERANCE.values()))
                self._misfit = "" if fits else f"this model's passes with a tree mask are off by {error:.2g}"
        return self._misfit

    def _walk(self) -> Walk:
        mask = mask_dtype(self._text_config, self._dtype)
        return Walk(self._call, self.device, mask, self._text_config.vocab_size)

    def _call(self, **inputs: Any) -> torch.Tensor:
        kind, dtype = self.device.type, self.mixed_precision_dtype
        with torch.no_grad(), torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
            return self.model(**inputs).logits

    def _plain(self, tokens: Tokens) -> torch.Tensor:
        """Logits [length, vocabulary] of a text, as lm-eval computes them."""
        return self.logits(torch.tensor([tokens], device=self.device))[0]

    @property
    def _text_config(self) -> Any:
        return self.model.config.get_text_config()

    @property
    def _dtype(self) -> torch.dtype:
        return self.mixed_precision_dtype or self.model.get_input_embeddings().weight.dtype

    def _say_once(self, count: int, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            log.warning("fin_hf: %d requests go lm-eval's own way: %s", count, reason)


def _leave(plan: Plan, documents: list[Document], why: str) -> None:
    """Take `documents` out of the plan, for lm-eval's own path."""
    gone = {document.requests for document in documents}
    plan.documents = [document for document in plan.documents if document.requests not in gone]
    if gone:
        plan.leave(why, [index for requests in gone for index in requests])


def _length(document: Document) -> int:
    return len(document.context) + max(map(len, document.trie.continuations))
