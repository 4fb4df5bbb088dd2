"""Which documents a Hugging Face model takes in one pass, and how many of their first tokens it takes once for all."""

from collections.abc import Sequence

from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.trie import Tokens

# How many documents behind a batch are looked at for whether they share its first tokens.
LOOKAHEAD = 32
# Padding in a batch, as a part of its own tokens, and how much is never too much. Rows of very different lengths gain
# nothing by going together: of 64 rows of fin_causal two thirds would be padding.
MOST_PADDING, NO_MATTER = 0.25, 64


def common_length(one: Tokens, other: Tokens) -> int:
    """Number of first tokens that are the same."""
    for index, (a, b) in enumerate(zip(one, other)):  # noqa: B905 (their lengths differ)
        if a != b:
            return index
    return min(len(one), len(other))


def in_order(documents: Sequence[Document]) -> list[Document]:
    """Documents with the same beginning side by side, and among those the longest first, so that little is padding.

    Args:
        documents: sorted by context, as `plan_documents` gives them.
    """
    runs: list[list[Document]] = []
    shared = 0
    for document in documents:
        common = common_length(runs[-1][-1].context, document.context) if runs else 0
        if not runs or 2 * common < shared:
            runs.append([document])
            shared = 0
        else:
            runs[-1].append(document)
            shared = min(shared or common, common)
    return [document for run in runs for document in sorted(run, key=lambda d: len(d.context), reverse=True)]


def take_batch(documents: Sequence[Document], size: int, rows: int) -> int:
    """How many of the first documents make a batch: as many as are allowed, and as fit together by their length.

    Args:
        documents: the documents to come, at least one.
        size: the largest number of documents.
        rows: the largest number of positions whose whole vocabulary is computed, padding included; at least one
            document is taken whatever it needs.
    """
    nodes = longest = tokens = 0
    first, shared = documents[0].context, len(documents[0].context)
    for count, document in enumerate(documents[:size]):
        length = len(document.context)
        nodes, longest, tokens = max(nodes, len(document.trie.edges)), max(longest, length), tokens + length
        shared = min(shared, common_length(first, document.context))
        padding = (count + 1) * longest - tokens
        own = tokens - (count + 1) * shared
        if count and ((count + 1) * nodes > rows or padding > max(NO_MATTER, MOST_PADDING * own)):
            return count
    return min(size, len(documents))


def worthwhile_prefix(batch: Sequence[Document], following: Sequence[Document], have: Tokens, worth: int) -> int:
    """Length of the prefix of the batch's documents to have in the cache before the batch is computed.

    The last token of a context is never part of it: its position is the root of the trie and is asked anew.

    Args:
        batch: documents of one pass.
        following: documents of later passes; tokens are worth computing apart for their sake too.
        have: tokens whose keys and values are in the cache already.
        worth: the prefix is made longer where that saves so many tokens.
    """
    own = shared_tokens(batch)
    present = common_length(own, have)
    reach = [len(own)] * (len(batch) - 1)
    reach += [common_length(own, document.context[:-1]) for document in following[:LOOKAHEAD]]
    reach.sort(reverse=True)
    saved = [((length - present) * (others + 1), length) for others, length in enumerate(reach)]
    best, length = max(saved, default=(0, 0))
    return length if best >= worth else present


def shared_tokens(batch: Sequence[Document]) -> Tokens:
    """The tokens that all contexts of a batch begin with, the last token of each left out."""
    contexts = [document.context[:-1] for document in batch]
    return min(contexts)[: common_length(min(contexts), max(contexts))]
