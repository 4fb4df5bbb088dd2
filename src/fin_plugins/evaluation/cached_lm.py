"""A language model for lm-eval that answers from the cache, and queries the engine only for what is missing.

Control flow: lm-eval's `simple_evaluate` calls `CachedLM`, `CachedLM` calls the engine. Neither calls back, except that
the engine reports its progress through `on_answers`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from fin_plugins.common.console import say
from fin_plugins.common.hashing import digest
from fin_plugins.common.progress import progress
from fin_plugins.evaluation.answer_cache import AnswerCache, CacheEntry
from fin_plugins.evaluation.cache_key import AnswerSettings, entry_key
from fin_plugins.evaluation.prompt_lm import EngineRequired
from fin_plugins.scoring.adapters import Adapter

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_LINE_INTERVAL = 30.0
"""Seconds between two progress lines in a log."""


@dataclass(frozen=True)
class ServedModel:
    """One of the models that share an engine: the base alone, or the base with an adapter.

    Attributes:
        name: `base`, or the adapter's name.
        adapter: None for the base alone.
        arguments: model arguments as lm-eval records them.
        key_inputs: from `cache_key.key_inputs`.
    """

    name: str
    adapter: Adapter | None
    arguments: dict[str, Any]
    key_inputs: dict[str, Any]

    @cached_property
    def content_hash(self) -> str:
        """Digest of `key_inputs`."""
        return digest(self.key_inputs)


class CachedLM(LM):
    """One model for lm-eval's `simple_evaluate`; cached answers are not computed again.

    Prompts are rendered by `renderer`, which is the engine itself once it is running: keys are then computed from the
    very strings that the engine is queried with.
    """

    def __init__(
        self,
        model: ServedModel,
        cache: AnswerCache,
        settings: AnswerSettings,
        tasks: Mapping[str, Any],
        renderer: Any,
        *,
        engine: Any = None,
        finished: int = 0,
        total: int = 0,
        test_rows_trained_on: dict[str, int] | None = None,
        before_queries: Callable[[], None] = lambda: None,
        after_attach: Callable[[], None] = lambda: None,
    ) -> None:
        """Set the sources of the answers.

        Args:
            model: the model to evaluate.
            cache: cached answers.
            settings: part of the keys.
            tasks: lm-eval's task objects by name; their requests may be built later.
            renderer: an LM that renders prompts.
            engine: the model class's object; without one, a missing answer raises `EngineRequired`.
            finished: number of tasks finished by the models before, for messages.
            total: number of tasks over all models, for messages.
            test_rows_trained_on: number of test rows that the model was trained on, by task, for the result file; None
                if its training rows are unknown.
            before_queries: called before the engine is queried.
            after_attach: called once the engine has made the model active.
        """
        super().__init__()
        self._model, self._cache, self._settings, self._tasks = model, cache, settings, tasks
        self._renderer, self._engine = renderer, engine
        self._finished, self._total = finished, total
        self._test_rows_trained_on = test_rows_trained_on
        self._before_queries, self._after_attach = before_queries, after_attach
        self._deferred = DeferredGeneration(engine)
        self._entries: dict[str, CacheEntry] = {}
        self._finished_tasks: set[str] = set()
        self._truncated: dict[str, int] = {}
        self._is_attached = False
        self._engine_info: dict[str, Any] | None = None
        self._engine_facts: dict[str, Any] = {}
        """`info`, `max_length` and so on, as recorded with the answers."""
        self._messages: list[str] = []

    def loglikelihood(self, requests: "list[Instance]") -> list[tuple[float, bool]]:
        """From the cache or the engine."""
        return [tuple(answer) for answer in self._answer("loglikelihood", requests)]

    def loglikelihood_rolling(self, requests: "list[Instance]") -> list[float]:
        """From the cache or the engine."""
        return self._answer("loglikelihood_rolling", requests)

    def generate_until(self, requests: "list[Instance]") -> list[str]:
        """From the cache or the engine; labels come first if the engine can generate replies in the same passes."""
        if self._deferred.is_supported:
            labels = requests_by_task(self._tasks, "loglikelihood")
            if labels:
                self._answer("loglikelihood", [request for requests in labels.values() for request in requests])
        return self._answer("generate_until", requests)

    def print_messages(self) -> None:
        """Print the messages held back: without an engine it is only known at the end whether all answers exist."""
        for message in self._messages:
            say(message)
        self._messages.clear()

    def get_model_info(self) -> dict[str, Any]:
        """Information about the model for the result file's `config`, as it was when the answers were computed."""
        info = dict(self._engine_facts.get("info") or {})
        fin = {"truncated": dict(self._truncated), "pruned": self._settings.prune}
        if self._test_rows_trained_on is not None:
            fin["test_rows_trained_on"] = self._test_rows_trained_on
        return {**info, "fin": {**(info.get("fin") or {}), **fin}}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """As rendered by the renderer."""
        return str(self._renderer.apply_chat_template(chat_history, add_generation_prompt=add_generation_prompt))

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The renderer's template."""
        template: str | None = self._renderer.chat_template(chat_template)
        return template

    @property
    def tokenizer_name(self) -> str:
        """The renderer's."""
        return str(self._renderer.tokenizer_name)

    @property
    def tokenizer(self) -> Any:
        """The renderer's; lm-eval writes its special tokens into the result file."""
        return self._renderer.tokenizer

    @property
    def eot_token_id(self) -> Any:
        """The engine's."""
        return self._engine_facts.get("eot_token_id")

    @property
    def max_length(self) -> Any:
        """The engine's, in tokens."""
        return self._engine_facts.get("max_length")

    @property
    def batch_sizes(self) -> dict[str, Any]:
        """The engine's; lm-eval lists the values."""
        return dict(self._engine_facts.get("batch_sizes") or {})

    def _answer(self, kind: str, requests: "list[Instance]") -> list[Any]:
        indices_by_task: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            indices_by_task.setdefault(str(request.task_name), []).append(index)
        by_task = {task: [requests[index] for index in indices] for task, indices in indices_by_task.items()}
        keys = {task: self._key(task, kind, task_requests) for task, task_requests in by_task.items()}
        cached = {task: self._lookup(keys[task], task_requests) for task, task_requests in by_task.items()}
        if not all(cached.values()):
            self._before_queries()
            if self._engine is None:
                raise EngineRequired
        answers: list[Any] = [None] * len(requests)
        for task, indices in indices_by_task.items():
            entry = cached[task]
            if entry is not None:
                self._use(entry, keys[task], from_cache=True)
            else:
                entry = self._query(task, kind, by_task[task], keys[task])
                self._use(entry, keys[task])
                self._store_deferred_replies(by_task[task])
            for index, answer in zip(indices, entry.answers, strict=True):
                answers[index] = answer
        return answers

    def _lookup(self, key: str, requests: "Sequence[Instance]") -> CacheEntry | None:
        return self._entries.get(key) or self._cache.read(key, len(requests))

    def _key(self, task: str, kind: str, requests: "Sequence[Instance]") -> str:
        arguments = (request.args for request in requests)
        return entry_key(self._model.content_hash, task, kind, arguments, self._settings.for_request_type(kind))

    def _query(self, task: str, kind: str, requests: "list[Instance]", key: str) -> CacheEntry:
        """Query the engine and store its answers."""
        changes = self._cache.changes_since_latest(self._model.name, task, kind, self._model.key_inputs)
        documents = len({request.doc_id for request in requests})
        note = f" (cached answers not used, changed since: {', '.join(changes)})" if changes else ""
        label = self._label(task)
        self._report(f"{label}: {documents} documents{note}")
        if not self._is_attached:
            self._attach()
        truncated_before = self._engine.truncated.get(task, 0)
        with progress("documents", documents, label=label, interval=_LINE_INTERVAL) as counter:
            self._engine.on_answers = lambda count: counter.advance(count * documents / len(requests))
            answers = getattr(self._engine, kind)(requests)
        self._engine.on_answers = None
        truncated = self._engine.truncated.get(task, 0) - truncated_before
        entry = CacheEntry(self._model.name, task, kind, list(answers), documents, truncated, self._describe_engine())
        return self._cache.write(key, entry, self._model.key_inputs)

    def _attach(self) -> None:
        self._engine.use_adapter(self._model.adapter)
        self._after_attach()
        self._engine.prune = self._settings.prune
        self._is_attached = True
        if self._deferred.is_supported:
            self._defer_missing_replies()

    def _defer_missing_replies(self) -> None:
        """Let the engine generate the replies that are not cached while it scores the labels of the same prompts."""
        missing = {}
        for task, requests in requests_by_task(self._tasks, "generate_until").items():
            if self._lookup(self._key(task, "generate_until", requests), requests) is None:
                missing[task] = requests
        self._deferred.expect(missing)

    def _store_deferred_replies(self, labels: "Sequence[Instance]") -> None:
        """Store the replies generated with these labels, so that an interruption does not lose them."""
        for task, requests in self._deferred.pop_complete(labels).items():
            key = self._key(task, "generate_until", requests)
            self._use(self._query(task, "generate_until", requests, key), key)

    def _describe_engine(self) -> dict[str, Any]:
        if self._engine_info is None:  # once: lm-eval's class contacts the hub
            self._engine_info = self._engine.get_model_info() if hasattr(self._engine, "get_model_info") else {}
        return {
            "info": self._engine_info,
            "max_length": getattr(self._engine, "max_length", None),
            "eot_token_id": getattr(self._engine, "eot_token_id", None),
            "batch_sizes": dict(getattr(self._engine, "batch_sizes", None) or {}),
        }

    def _use(self, entry: CacheEntry, key: str, *, from_cache: bool = False) -> None:
        if key in self._entries:
            return
        self._entries[key] = entry
        self._engine_facts = entry.about
        if from_cache:
            self._report(f"{self._label(entry.task)}: from the cache")
        self._finished_tasks.add(entry.task)
        if entry.truncated:
            self._truncated[entry.task] = self._truncated.get(entry.task, 0) + entry.truncated
            self._report(
                f"WARNING: {self._model.name} · {entry.task}: {entry.truncated} of {entry.documents} documents did not "
                "fit and were truncated (see config.fin.truncated in the result file); a larger max_model_len may help"
            )

    def _label(self, task: str) -> str:
        position = self._finished + len(self._finished_tasks) + 1
        return f"[{position}/{self._total}] {self._model.name} · {task}"

    def _report(self, message: str) -> None:
        self._messages.append(message)
        if self._engine is not None:
            self.print_messages()


class DeferredGeneration:
    """Tasks whose replies the engine generates while it scores the labels of the same prompts."""

    def __init__(self, engine: Any) -> None:
        """Start without tasks.

        Args:
            engine: the model class's object, or None.
        """
        self._engine = engine
        self.is_supported = hasattr(engine, "expect_replies")
        self._pending: dict[str, list[Instance]] = {}

    def expect(self, requests: "Mapping[str, list[Instance]]") -> None:
        """Defer these generation requests, by task."""
        self._pending.update(requests)
        self._engine.expect_replies([request for task_requests in requests.values() for request in task_requests])

    def pop_complete(self, labels: "Sequence[Instance]") -> "dict[str, list[Instance]]":
        """Remove and return the tasks whose replies are complete now that these labels are scored."""
        prompts = {request.args[0] for request in labels}
        complete = {
            task: requests
            for task, requests in self._pending.items()
            if prompts.issuperset(request.args[0] for request in requests) and self._engine.has_replies(requests)
        }
        for task in complete:
            del self._pending[task]
        return complete


def requests_by_task(tasks: Mapping[str, Any], kind: str) -> "dict[str, list[Instance]]":
    """Requests of one type that lm-eval will make for loaded tasks; tasks without any are left out.

    Args:
        tasks: lm-eval's task objects by name, their requests built.
        kind: lm-eval's request type, such as `loglikelihood`.
    """
    requests: dict[str, list[Instance]] = {}
    for task in tasks.values():
        for request in task.instances:
            if request.request_type == kind:
                requests.setdefault(str(request.task_name), []).extend([request] * request.repeats)
    return requests
