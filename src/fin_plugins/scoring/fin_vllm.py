"""`fin_vllm`: lm-eval's vLLM class with all labels of a document scored from one prefill.

lm-eval sends one request per label and asks for `prompt_logprobs`, which computes the full vocabulary at every position
of the prompt and prevents vLLM from reading its prefix cache. Here a document is one request at the root of its label
trie (`SamplingParams.logprob_token_ids`: exact log-probabilities of selected tokens), plus one short request for each
inner node, whose prompt extends the document's, which is cached by then.
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
from fin_plugins.compat.lm_eval.models import TokenRequest
from fin_plugins.compat.lm_eval.prompts import generation_settings
from fin_plugins.compat.lm_eval.vllm import HookedVLLM
from fin_plugins.compat.vllm import cache_block, cache_tokens, shut_down
from fin_plugins.scoring.adapters import Adapter, read_adapter, vllm_lora_arguments
from fin_plugins.scoring.documents import count_truncated, encode_pairs, plan_documents
from fin_plugins.scoring.finite_scores import check_finite_before_generation, require_finite
from fin_plugins.scoring.label_trie import (
    ContinuationScore,
    Document,
    EdgeLogprobs,
    NodeQuery,
    Tokens,
    score_all_nodes,
    score_best_first,
)

try:
    from vllm.sampling_params import MAX_LOGPROB_TOKEN_IDS
except ImportError as error:
    raise FinError(
        "fin_vllm needs vLLM 0.32 or later (SamplingParams.logprob_token_ids): upgrade it, or use --model vllm"
    ) from error

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)

# An inner node recomputes the last, incomplete cache block of its prompt. vLLM's CPU build accepts multiples of 32 and
# defaults to 128; benchmarks/RESULTS.md compares 32, 64 and 128.
_CPU_BLOCK_SIZE = 32


@register_model("fin_vllm")
class FinVLLM(HookedVLLM):
    """lm-eval's `vllm` with the same arguments and the same scores, and less work for a closed set of labels.

    Additional arguments: `peft=PATH`, a LoRA adapter (like `lora_local_path=`, with `max_lora_rank` read from the
    adapter; lm-eval then files the result under the adapter's path), and `adapter_name=NAME`, recorded in the result
    file.
    """

    supports_prune = True
    prune = False
    """Stop a search once the decision is certain; set by `fin eval --prune`, which checks the metrics first."""
    on_answers: Callable[[int], None] | None = None
    """Called with the number of requests just answered, instead of a progress bar; None for the bar."""

    def __init__(self, pretrained: str, *, peft: str | None = None, adapter_name: str = "", **arguments: Any) -> None:
        if peft is not None:
            adapter = read_adapter(adapter_name or "peft", Path(peft))
            arguments = {**vllm_lora_arguments([adapter]), **arguments, "lora_local_path": str(adapter.path)}
        if current_platform.is_cpu():
            arguments.setdefault("block_size", _CPU_BLOCK_SIZE)
        super().__init__(pretrained=pretrained, **arguments)
        self.truncated: dict[str, int] = {}
        """Number of documents whose prompt was truncated, by task."""
        self.query_counts = {"documents": 0, "nodes": 0}
        """Documents scored through their trie so far, and nodes queried for them, roots included."""
        self._adapter_ids: dict[str, int] = {}
        self.fallback_reasons: set[str] = set()
        """Why requests have fallen back to lm-eval so far."""

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Answer all later requests with the base plus `adapter`, or with the base alone (None)."""
        if adapter is None:
            self.lora_request = None
            return
        number = self._adapter_ids.setdefault(str(adapter.path), len(self._adapter_ids) + 1)
        self.lora_request = LoRARequest(adapter.name, number, str(adapter.path))

    def label_logprobs(self, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities (nats) of each prompt's tokens from the second on, given the preceding ones."""
        outputs = self.pass_tokens(prompts)
        return [
            [position[token].logprob for token, position in zip(prompt[1:], output.prompt_logprobs[1:], strict=True)]
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def get_model_info(self) -> dict[str, Any]:
        """Information that lm-eval writes into the result file's `config`."""
        return {"fin": {"truncated": dict(self.truncated), "pruned": self.prune}}

    def shutdown(self) -> None:
        """End the engine's process; otherwise vLLM ends it only when the interpreter exits."""
        if self.data_parallel_size == 1:
            shut_down(self.model)

    @require_finite
    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's, but encodes each distinct string once and counts truncated documents."""
        if self.enable_thinking:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]
        pairs = [request.args for request in requests]
        encoded = encode_pairs(pairs, self.tok_encode, self.prefix_token_id)
        truncated = [len(context) + len(continuation) > self._max_text_length for context, continuation in encoded]
        count_truncated(self.truncated, requests, truncated)
        tokens = [(pair, *both) for pair, both in zip(pairs, encoded, strict=True)]
        return self.score_tokens(tokens, disable_tqdm=disable_tqdm)

    @require_finite
    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """As lm-eval's."""
        return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's, but counts truncated documents."""
        encoded = self.tok_encode([request.args[0] for request in requests])
        if encoded and self.data_parallel_size == 1:  # with more, every call starts new engines
            check_finite_before_generation(self, requests, min(encoded, key=len)[-self._max_text_length :])
        reserved = [generation_settings(request.args[1], self.max_gen_toks)["max_gen_toks"] for request in requests]
        truncated = [len(prompt) + more > self.max_length for prompt, more in zip(encoded, reserved, strict=True)]
        count_truncated(self.truncated, requests, truncated)
        return super().generate_until(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def score_tokens(self, requests: list[TokenRequest], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's, in fewer passes."""
        if any(key is None for key, _, _ in requests):  # windows of loglikelihood_rolling: texts without labels
            return super().score_tokens(requests, disable_tqdm=disable_tqdm)
        plan = plan_documents(requests, self._max_text_length, self._cost)
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
        for reason, indices in plan.fallback.items():
            self._log_fallback(len(indices), reason)
            scores_by_lm_eval = super().score_tokens([requests[index] for index in indices], disable_tqdm=disable_tqdm)
            answers.update(zip(indices, scores_by_lm_eval, strict=True))
        return [answers[index] for index in range(len(requests))]  # type: ignore[misc]

    def _score(self, documents: Sequence[Document]) -> list[list[ContinuationScore]]:
        if self.prune and self.data_parallel_size > 1:
            raise FinError(
                "--prune cannot be combined with data_parallel_size, as each of its rounds would start new engines: "
                "leave one of the two out"
            )
        self.query_counts["documents"] += len(documents)
        return (score_best_first if self.prune else score_all_nodes)(documents, self._query)

    def _query(self, queries: Sequence[NodeQuery]) -> list[EdgeLogprobs]:
        """Query the engine; a node with more edges than vLLM takes at once is split into parts."""
        parts = [
            (index, prompt, edges[start : start + MAX_LOGPROB_TOKEN_IDS])
            for index, (prompt, edges) in enumerate(queries)
            for start in range(0, len(edges), MAX_LOGPROB_TOKEN_IDS)
        ]
        outputs = self.generate_tokens(
            [list(prompt) for _, prompt, _ in parts], [_sampling_params(edges) for _, _, edges in parts]
        )
        self.query_counts["nodes"] += len(queries)
        logprobs: list[dict[int, float]] = [{} for _ in queries]
        top = [float("-inf")] * len(queries)
        for (index, _, edges), output in zip(parts, outputs, strict=True):
            next_token = output.outputs[0].logprobs[0]
            logprobs[index].update((token, next_token[token].logprob) for token in edges)
            top[index] = next_token[output.outputs[0].token_ids[0]].logprob  # greedy: the sampled token is likeliest
        return [EdgeLogprobs(by_token, best) for by_token, best in zip(logprobs, top, strict=True)]

    def _chunks(self, documents: Sequence[Document]) -> Iterator[list[Document]]:
        """Groups of documents that fill at most half of the KV cache, so that inner nodes find their document in it."""
        if self.data_parallel_size > 1:  # lm-eval starts new engines for every call
            yield list(documents)
            return
        max_labels = 512 if self.batch_size == "auto" else int(self.batch_size)
        chunk: list[Document] = []
        tokens = labels = 0
        for document in documents:
            size = len(document.context) + self._block_size * len(document.trie.edges)
            if chunk and (tokens + size > self._cache_tokens // 2 or labels + len(document.requests) > max_labels):
                yield chunk
                chunk, tokens, labels = [], 0, 0
            chunk.append(document)
            tokens += size
            labels += len(document.requests)
        if chunk:
            yield chunk

    def _cost(self, document: Document) -> tuple[int, int]:
        """Tokens computed by the trie (cached ones are not recomputed) and by lm-eval."""
        length, block_size = len(document.context), self._block_size
        trie_cost = 0
        for node, edges in document.trie.edges.items():
            prompt = length + len(node)
            uncached = prompt - (prompt - 1) // block_size * block_size if block_size else prompt
            requests = -(-len(edges) // MAX_LOGPROB_TOKEN_IDS)
            trie_cost += uncached * requests if node else prompt + uncached * (requests - 1)
        return trie_cost, sum(length + len(continuation) for continuation in document.trie.continuations)

    @property
    def _max_text_length(self) -> int:
        return int(self.max_length) - 1  # vLLM generates at least one token

    @cached_property
    def _block_size(self) -> int:
        """Tokens in a block of the prefix cache; 0 if the engine has none."""
        if self.data_parallel_size > 1:
            return int(self.model_args.get("block_size") or 16)
        return cache_block(self.model)

    @cached_property
    def _cache_tokens(self) -> int:
        return cache_tokens(self.model)

    def _log_fallback(self, count: int, reason: str) -> None:
        if reason not in self.fallback_reasons:
            self.fallback_reasons.add(reason)
            log.warning("fin_vllm: %d requests fall back to lm-eval's own code, one pass per label: %s", count, reason)


def _sampling_params(edges: Tokens) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=1, detokenize=False, logprob_token_ids=list(edges))
