"""`fin_vllm`: lm-eval's vLLM class, with all labels of a document scored from one prefill.

lm-eval sends one request a choice and asks for `prompt_logprobs`, which computes the whole vocabulary at every position
of the prompt and keeps vLLM from reading its prefix cache. Here every document is one request at the root of its label
trie (`SamplingParams.logprob_token_ids`: exact log-probabilities of the tokens asked for), and one short request for
each inner node, whose prompt is the document's own, already in the cache.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.registry import register_model
from tqdm import tqdm
from vllm import SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform

from fin_plugins.common.errors import FinError
from fin_plugins.compat.lm_eval.prompts import generation_settings
from fin_plugins.compat.lm_eval.vllm import HookedVLLM
from fin_plugins.compat.vllm import cache_block, cache_tokens, shut_down
from fin_plugins.scoring.adapters import Adapter, engine_limits, read_adapter
from fin_plugins.scoring.documents import Document, Request, count_cut, plan_documents
from fin_plugins.scoring.encoding import encode_pairs
from fin_plugins.scoring.finite import check_before_generation, finite_answers
from fin_plugins.scoring.trie import Edges, Score, Tokens
from fin_plugins.scoring.walk import Question, walk_all, walk_best_first

try:
    from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS
except ImportError as error:
    raise FinError(
        "fin_vllm needs vLLM 0.32 or later (SamplingParams.logprob_token_ids): upgrade it, or use --model vllm"
    ) from error

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)

# What an inner node computes anew is the last, unfinished block of its prompt. vLLM's CPU build takes multiples of 32
# and defaults to 128; benchmarks/RESULTS.md compares 32, 64 and 128.
CPU_BLOCK = 32


@register_model("fin_vllm")
class FinVLLM(HookedVLLM):
    """lm-eval's `vllm` with the same arguments and the same scores, and less work for a closed set of labels.

    Further arguments: `peft=PATH`, a LoRA adapter (as `lora_local_path=`, with `max_lora_rank` read from the adapter;
    lm-eval then files the result under the adapter's path), and `adapter_name=NAME`, recorded in the result file.
    """

    supports_prune = True
    prune = False
    """Stop a walk as soon as the decision is certain; set by `fin eval --prune`, which looks at the metrics first."""
    on_answers: Callable[[int], None] | None = None
    """Takes the number of requests just answered, in place of a bar of this class; None for the bar."""

    def __init__(self, pretrained: str, *, peft: str | None = None, adapter_name: str = "", **arguments: Any) -> None:
        if peft is not None:
            adapter = read_adapter(adapter_name or "peft", Path(peft))
            arguments = {**engine_limits([adapter]), **arguments, "lora_local_path": str(adapter.path)}
        if current_platform.is_cpu():
            arguments.setdefault("block_size", CPU_BLOCK)
        super().__init__(pretrained=pretrained, **arguments)
        self.truncated: dict[str, int] = {}
        self.asked = {"documents": 0, "nodes": 0}
        """Documents scored from their trie so far, and nodes asked for them; a document's root is one of its nodes."""
        self._adapter_ids: dict[str, int] = {}
        self._said: set[str] = set()

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Answer every later request by the base with `adapter`, or by the base alone (None)."""
        if adapter is None:
            self.lora_request = None
            return
        number = self._adapter_ids.setdefault(str(adapter.path), len(self._adapter_ids) + 1)
        self.lora_request = LoRARequest(adapter.name, number, str(adapter.path))

    def label_logprobs(self, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities (nats) of each prompt's tokens, from the second on, given those before."""
        outputs = self.pass_tokens(prompts)
        return [
            [at[token].logprob for token, at in zip(prompt[1:], output.prompt_logprobs[1:], strict=True)]
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the result file's `config`."""
        return {"fin": {"truncated": dict(self.truncated), "pruned": self.prune}}

    def shutdown(self) -> None:
        """End the engine's process; vLLM does so by itself only when the interpreter ends."""
        if self.data_parallel_size == 1:
            shut_down(self.model)

    @finite_answers
    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's, with every distinct string encoded once and cut documents counted."""
        if self.enable_thinking:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]
        pairs = [request.args for request in requests]
        encoded = encode_pairs(pairs, self.tok_encode, self.prefix_token_id)
        cut = [len(context) + len(continuation) > self._room for context, continuation in encoded]
        count_cut(self.truncated, requests, cut)
        tokens = [(pair, *both) for pair, both in zip(pairs, encoded, strict=True)]
        return self.score_tokens(tokens, disable_tqdm=disable_tqdm)

    @finite_answers
    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """lm-eval's own."""
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """lm-eval's own, with cut documents counted."""
        encoded = self.tok_encode([request.args[0] for request in requests])
        if encoded and self.data_parallel_size == 1:  # of several, every call starts new engines
            check_before_generation(self, requests, min(encoded, key=len)[-self._room :])
        lengths = map(len, encoded)
        wanted = [generation_settings(request.args[1], self.max_gen_toks)["max_gen_toks"] for request in requests]
        cut = [length + more > self.max_length for length, more in zip(lengths, wanted, strict=True)]
        count_cut(self.truncated, requests, cut)
        return super().generate_until(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def score_tokens(self, requests: list[Request], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's, in fewer passes."""
        if any(key is None for key, _, _ in requests):  # windows of loglikelihood_rolling: whole texts, no choices
            return super().score_tokens(requests, disable_tqdm=disable_tqdm)
        plan = plan_documents(requests, self._room, self._cost)
        answers: dict[int, tuple[float, bool | None]] = {}
        hidden = disable_tqdm or self.on_answers is not None
        with tqdm(total=len(requests), disable=hidden, desc="Scoring labels") as bar:
            for chunk in self._chunks(plan.documents):
                for document, scores in zip(chunk, self._score(chunk), strict=True):
                    for index, score in zip(document.requests, scores, strict=True):
                        answers[index] = (score.loglikelihood, score.greedy)
                        if score.greedy is not None:
                            self.cache_hook.add_partial("loglikelihood", requests[index][0], answers[index])
                    (self.on_answers or bar.update)(len(document.requests))
        for reason, indices in plan.leftover.items():
            self._say_once(f"{len(indices)} requests go lm-eval's own way, one pass a choice: {reason}")
            theirs = super().score_tokens([requests[index] for index in indices], disable_tqdm=disable_tqdm)
            answers.update(zip(indices, theirs, strict=True))
        return [answers[index] for index in range(len(requests))]  # type: ignore[misc]

    def _score(self, documents: Sequence[Document]) -> list[list[Score]]:
        if self.prune and self.data_parallel_size > 1:
            raise FinError("--prune cannot be used with data_parallel_size: each of its rounds would start new engines")
        self.asked["documents"] += len(documents)
        return walk_best_first(documents, self._ask) if self.prune else walk_all(documents, self._ask)

    def _ask(self, questions: Sequence[Question]) -> list[Edges]:
        """The engine's answers; a node of more edges than vLLM takes at once is asked in parts."""
        parts = [
            (index, prompt, wanted[start : start + MAX_LOGPROB_TOKEN_IDS])
            for index, (prompt, wanted) in enumerate(questions)
            for start in range(0, len(wanted), MAX_LOGPROB_TOKEN_IDS)
        ]
        outputs = self.generate_tokens(
            [list(prompt) for _, prompt, _ in parts], [_exact(wanted) for _, _, wanted in parts]
        )
        self.asked["nodes"] += len(questions)
        logprobs: list[dict[int, float]] = [{} for _ in questions]
        top = [float("-inf")] * len(questions)
        for (index, _, wanted), output in zip(parts, outputs, strict=True):
            at_end = output.outputs[0].logprobs[0]
            logprobs[index].update((token, at_end[token].logprob) for token in wanted)
            top[index] = at_end[output.outputs[0].token_ids[0]].logprob  # greedy: the sampled token is the likeliest
        return [Edges(known, best) for known, best in zip(logprobs, top, strict=True)]

    def _chunks(self, documents: Sequence[Document]) -> Iterator[list[Document]]:
        """Documents that fill at most half of the cache together, so that inner nodes find their document in it."""
        if self.data_parallel_size > 1:  # lm-eval starts new engines for every call
            yield list(documents)
            return
        most = 512 if self.batch_size == "auto" else int(self.batch_size)
        chunk: list[Document] = []
        tokens = choices = 0
        for document in documents:
            size = len(document.context) + self._block * len(document.trie.edges)
            if chunk and (tokens + size > self._cache_tokens // 2 or choices + len(document.requests) > most):
                yield chunk
                chunk, tokens, choices = [], 0, 0
            chunk.append(document)
            tokens += size
            choices += len(document.requests)
        if chunk:
            yield chunk

    def _cost(self, document: Document) -> tuple[int, int]:
        """Tokens computed our way (what the cache holds is not computed again), and lm-eval's way."""
        length = len(document.context)
        ours = 0
        for node, wanted in document.trie.edges.items():
            prompt = length + len(node)
            anew = prompt - (prompt - 1) // self._block * self._block if self._block else prompt
            requests = -(-len(wanted) // MAX_LOGPROB_TOKEN_IDS)
            ours += anew * requests if node else prompt + anew * (requests - 1)
        return ours, sum(length + len(continuation) for continuation in document.trie.continuations)

    @property
    def _room(self) -> int:
        return int(self.max_length) - 1  # vLLM generates at least one token

    @cached_property
    def _block(self) -> int:
        """Tokens in a block of the prefix cache; 0 where the engine has none."""
        if self.data_parallel_size > 1:
            return int(self.model_args.get("block_size") or 16)
        return cache_block(self.model)

    @cached_property
    def _cache_tokens(self) -> int:
        return cache_tokens(self.model)

    def _say_once(self, message: str) -> None:
        reason = message.split(": ", 1)[1]
        if reason not in self._said:
            self._said.add(reason)
            log.warning("fin_vllm: %s", message)


def _exact(wanted: Tokens) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=1, detokenize=False, logprob_token_ids=list(wanted))
