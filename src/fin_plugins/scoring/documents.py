"""From lm-eval's requests, one a choice, to documents: requests that share a context and are scored together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fin_plugins.scoring.trie import LabelTrie, Tokens, label_trie

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""What lm-eval hands to `_loglikelihood_tokens`: (cache key, context tokens, continuation tokens)."""


@dataclass(frozen=True)
class Document:
    """Requests with the same context tokens."""

    context: Tokens
    requests: tuple[int, ...]
    """Positions in the list of requests, parallel to `trie.continuations`."""
    trie: LabelTrie


@dataclass
class Plan:
    """Which requests are scored together, and which go to lm-eval's own path, by reason."""

    documents: list[Document] = field(default_factory=list)
    leftover: dict[str, list[int]] = field(default_factory=dict)

    def leave(self, reason: str, requests: Sequence[int]) -> None:
        """Give `requests` to lm-eval's own path."""
        self.leftover.setdefault(reason, []).extend(requests)


def plan_documents(requests: Sequence[Request], max_length: int, cost: Callable[[Document], tuple[int, int]]) -> Plan:
    """Group requests by context.

    Documents come sorted by context tokens, so that those with a common beginning (the instruction) are neighbours.

    Args:
        requests: lm-eval's requests, any order.
        max_length: Context and continuation may have this many tokens together; lm-eval cuts what is longer, and cuts
            each choice differently, so such a document has no single context.
        cost: (tokens to compute our way, tokens to compute lm-eval's way) of a document.
    """
    plan = Plan()
    for context, indices in sorted(_by_context(requests).items()):
        continuations = tuple(tuple(requests[index][2]) for index in indices)
        if not context or not all(continuations):
            plan.leave("a context or continuation without tokens", indices)
        elif len(context) + max(map(len, continuations)) > max_length:
            plan.leave("longer than the model's context", indices)
        else:
            document = Document(context, tuple(indices), label_trie(continuations))
            ours, theirs = cost(document)
            if ours < theirs:
                plan.documents.append(document)
            else:
                plan.leave("long continuations: one pass a choice is less work", indices)
    return plan


def _by_context(requests: Sequence[Request]) -> dict[Tokens, list[int]]:
    groups: dict[Tokens, list[int]] = {}
    for index, (_, context, _) in enumerate(requests):
        groups.setdefault(tuple(context), []).append(index)
    return groups


def count_cut(truncated: dict[str, int], requests: "Sequence[Instance]", cut: Sequence[bool]) -> None:
    """Add to `truncated`, by task, the documents of which a request's prompt is cut; each document counts once."""
    documents = {(one.task_name or "", one.doc_id) for one, is_cut in zip(requests, cut, strict=True) if is_cut}
    for task, _ in documents:
        truncated[task] = truncated.get(task, 0) + 1
