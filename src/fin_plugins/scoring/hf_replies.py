"""lm-eval's `hf` with short greedy replies written behind the passes that score labels, wherever a model allows it.

lm-eval pads whole prompts on the left and computes each of them from its first token. Here the tokens that prompts
begin with are computed once, as for labels; and where the labels of the very same prompt are asked first, its reply
costs no pass of its own (`expect_replies`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fin_plugins.compat.lm_eval.prompts import cut_reply, generation_settings, stop_strings
from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.encoding import encode_all
from fin_plugins.scoring.hf_check import TOLERANCE, exact_length, reply_error, rope_length
from fin_plugins.scoring.hf_greedy import Reply
from fin_plugins.scoring.hf_settings import beyond_greedy, greedy_only
from fin_plugins.scoring.hf_trees import TreeHF
from fin_plugins.scoring.hf_walk import Answers
from fin_plugins.scoring.trie import Tokens, label_trie

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

# Room for a reply's keys and values is taken at once.
MOST_TOKENS = 64

Prompt = tuple[Tokens, Reply]


class ReplyHF(TreeHF):
    """Answers generation requests through our own passes; what does not fit goes lm-eval's own way, said once."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._expected: dict[Tokens, Reply] = {}
        self._written: dict[Prompt, Tokens] = {}
        self._no_replies: str | None = None
        """Why this model writes no replies our way: empty where it does, None before it was tried."""

    def expect_replies(self, requests: "Sequence[Instance]") -> None:
        """Write the replies to these generation requests along when labels of the same prompts are asked.

        They are kept until they are asked for, or until another model answers.
        """
        prompts, _ = self._sort(requests)
        for tokens, reply in prompts.values():
            if (tokens, reply) not in self._written:
                self._expected.setdefault(tokens, reply)

    def has_replies(self, requests: "Sequence[Instance]") -> bool:
        """Whether all these generation requests can be answered from what is kept."""
        prompts, leftover = self._sort(requests)
        return not leftover and all(prompt in self._written for prompt in prompts.values())

    def forget_replies(self) -> None:
        """Neither expect nor keep any."""
        self._expected.clear()
        self._written.clear()

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's, in fewer passes."""
        prompts, leftover = self._sort(requests)
        self._write(list(prompts.values()), disable_tqdm)
        texts = {index: self._text(prompt) for index, prompt in prompts.items()}
        for index, text in texts.items():
            self.cache_hook.add_partial("generate_until", requests[index].args, text)
        for reason, indices in leftover.items():
            self._say_once(len(indices), reason)
        rest = sorted(index for indices in leftover.values() for index in indices)
        if rest:
            theirs = self._lm_eval_replies([requests[index] for index in rest], disable_tqdm)
            texts.update(zip(rest, theirs, strict=True))
        for prompt in prompts.values():
            self._written.pop(prompt, None)
        return [texts[index] for index in range(len(requests))]

    def _lm_eval_replies(self, requests: "list[Instance]", disable_tqdm: bool) -> list[str]:
        """lm-eval's own replies, one prompt at a time where a longer neighbour in the batch would change them."""
        bound = rope_length(self._text_config)
        if not bound:
            return list(super().generate_until(requests, disable_tqdm=disable_tqdm))
        prompts = self._encode_prompts([request.args[0] for request in requests])
        ends = [
            len(prompt) + generation_settings(request.args[1], self.max_gen_toks)["max_gen_toks"]
            for prompt, request in zip(prompts, requests, strict=True)
        ]
        short = [index for index, end in enumerate(ends) if end <= bound]
        theirs = super().generate_until([requests[index] for index in short], disable_tqdm=disable_tqdm)
        texts = dict(zip(short, theirs, strict=True))
        for index, end in enumerate(ends):
            if end > bound:
                with self._alone():
                    (texts[index],) = super().generate_until([requests[index]], disable_tqdm=True)
        return [texts[index] for index in range(len(requests))]

    def _answers(
        self, documents: Sequence[Document], replies: Mapping[Tokens, Reply]
    ) -> Iterator[tuple[Document, Answers]]:
        """As before, with the replies that are expected, which are kept."""
        replies = {**self._expected, **replies}
        for document, answers in super()._answers(documents, replies):
            if answers.reply is not None:
                self._written[document.context, replies[document.context]] = answers.reply
                self._expected.pop(document.context, None)
            yield document, answers

    def _write(self, prompts: Sequence[Prompt], disable_tqdm: bool) -> None:
        """Have the replies to all prompts written."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._written]
        hidden = disable_tqdm or self.rank != 0 or not missing or self.on_answers is not None
        with tqdm(total=len(missing), disable=hidden, desc="Replies") as bar:
            for asked in dict.fromkeys(reply for _, reply in missing):
                mine = {tokens: reply for tokens, reply in missing if reply == asked}
                for _ in self._answers([Document(tokens, (), label_trie(())) for tokens in sorted(mine)], mine):
                    (self.on_answers or bar.update)(1)

    def _sort(self, requests: "Sequence[Instance]") -> tuple[dict[int, Prompt], dict[str, list[int]]]:
        """Tokens and settings of the requests that are answered our way, and the others by reason."""
        prompts: dict[int, Prompt] = {}
        leftover: dict[str, list[int]] = {}
        why = self._closed() or self._unfit_for_replies()
        encoded = [] if why else self._encode_prompts([request.args[0] for request in requests])
        for index, request in enumerate(requests):
            reason = why or self._reason(encoded[index], request.args[1])
            if reason:
                leftover.setdefault(reason, []).append(index)
            else:
                prompts[index] = tuple(encoded[index]), self._reply(request.args[1])
        return prompts, leftover

    def _reason(self, prompt: Sequence[int], settings: Any) -> str:
        """Why one request goes lm-eval's own way; empty where it does not."""
        if not greedy_only(settings):
            return "replies that are drawn, or with other settings than a length and stop strings"
        most = generation_settings(settings, self.max_gen_toks)["max_gen_toks"]
        bound = exact_length(self._text_config)
        if not 0 < most <= MOST_TOKENS:
            return f"replies of more than {MOST_TOKENS} tokens"
        if not 0 < len(prompt) <= self._prompt_room(settings):
            return "longer than the model's context"
        if bound and len(prompt) + most > bound:
            return f"longer than {bound} tokens, where this model's attention changes"
        return ""

    def _unfit_for_replies(self) -> str:
        """Why this model writes no replies our way, empty where it does; tried once."""
        if self._no_replies is None:
            self._no_replies = self._odd_settings() or self._unfit() or self._reply_misfit()
        return self._no_replies

    def _odd_settings(self) -> str:
        if self.think_end_token is not None:
            return "think_end_token, which is looked for in whole replies"
        odd = beyond_greedy(self.model)
        return f"this model's generation settings have {', '.join(odd)}" if odd else ""

    def _reply_misfit(self) -> str:
        known = min(self._text_config.vocab_size, len(self.tokenizer))
        try:
            error = reply_error(self._walk().answers, self._plain, known)
        except Exception as reason:  # whatever an architecture makes of inputs that it was not written for
            return f"this model's cache takes no replies ({type(reason).__name__}: {reason})".splitlines()[0]
        fits = error <= TOLERANCE.get(self._dtype, max(TOLERANCE.values()))
        return "" if fits else f"this model's replies from the cache are off by {error:.2g}"

    def _reply(self, settings: Any) -> Reply:
        wanted = generation_settings(settings, self.max_gen_toks)
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = tuple(stop_strings(wanted["until"], eos=eos))
        return Reply(wanted["max_gen_toks"], until, partial(self._ended, until))

    def _ended(self, until: Sequence[str], tokens: Sequence[int]) -> bool:
        """As lm-eval's stopping rules, for a prompt that is answered alone."""
        ends = self.model.generation_config.eos_token_id
        if tokens[-1] in (ends if isinstance(ends, list) else [ends]):
            return True
        text = self.tok_decode(tokens, skip_special_tokens=False)
        return any(stop in text for stop in until)

    def _text(self, prompt: Prompt) -> str:
        text = self.tok_decode(self._written[prompt])
        return cut_reply(text, prompt[1].until)

    def _encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """As lm-eval's `tok_batch_encode` does with a prompt alone; it is not quite what `tok_encode` does."""
        begin = getattr(self.tokenizer, "bos_token", None)
        return encode_all(self.tokenizer, prompts, begin, self.add_bos_token)

    def _prompt_room(self, settings: dict[str, Any]) -> int:
        """Tokens of a prompt that lm-eval leaves uncut before it generates."""
        wanted = generation_settings(settings, self.max_gen_toks)["max_gen_toks"] if self.backend == "causal" else 0
        room = int(self.max_length - wanted)
        return min(room, self.tokenizer.model_max_length) if self.truncation else room
