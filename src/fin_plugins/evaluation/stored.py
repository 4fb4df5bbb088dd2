"""A language model that answers from the store, and asks the engine only for what is not there."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from fin_plugins.evaluation.hashing import digest
from fin_plugins.evaluation.progress import say
from fin_plugins.evaluation.prompts import NoEngine
from fin_plugins.evaluation.store import Store, Unit, unit_key
from fin_plugins.evaluation.units import Model, Progress, Settings

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


class StoredLM(LM):
    """One model for lm-eval's `simple_evaluate`: what is in the store is not asked again.

    Renders prompts with `renderer`, which is the engine itself once there is one: keys are then made from the very
    strings that the engine is asked.
    """

    def __init__(
        self,
        model: Model,
        store: Store,
        settings: Settings,
        progress: Progress,
        renderer: Any,
        engine: Any = None,
        before_asking: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what the answers come from.

        Args:
            model: which one.
            store: the answers there are.
            settings: for the keys.
            progress: counted up with every unit.
            renderer: an LM that renders prompts.
            engine: the model class's object; without one, a missing unit raises `NoEngine`.
            before_asking: called when the first missing unit is found, before anything is asked.
        """
        super().__init__()
        self._model = model
        self._store = store
        self._settings = settings
        self._progress = progress
        self._renderer = renderer
        self._engine = engine
        self._before_asking = before_asking
        self._identity = digest(model.made_with)
        self._about: dict[str, Any] | None = None
        self._info: dict[str, Any] | None = None
        self._in_use = False
        self._counted: set[str] = set()
        self._lines: list[str] = []
        self.units: dict[str, str] = {}
        """Keys of the units answered from, by task and request type."""
        self.truncated: dict[str, int] = {}
        """Number of documents that were cut because they did not fit, by task; tasks without any are left out."""

    def loglikelihood(self, requests: "list[Instance]") -> list[tuple[float, bool]]:
        """From the store or the engine."""
        return [tuple(answer) for answer in self._answer("loglikelihood", requests)]

    def loglikelihood_rolling(self, requests: "list[Instance]") -> list[float]:
        """From the store or the engine."""
        return self._answer("loglikelihood_rolling", requests)

    def generate_until(self, requests: "list[Instance]") -> list[str]:
        """From the store or the engine."""
        return self._answer("generate_until", requests)

    def _answer(self, kind: str, requests: "list[Instance]") -> list[Any]:
        by_task: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_task.setdefault(str(request.task_name), []).append(index)
        asked = {task: [requests[index] for index in indices] for task, indices in by_task.items()}
        keys = {task: self._key(task, kind, mine) for task, mine in asked.items()}
        units = {task: self._store.read(keys[task], len(mine)) for task, mine in asked.items()}
        if not all(units.values()):
            self._before_asking()
            if self._engine is None:
                raise NoEngine
        answers: list[Any] = [None] * len(requests)
        for task, indices in by_task.items():
            unit = units[task] or self._ask(task, kind, asked[task], keys[task])
            self._take(unit, keys[task], from_store=units[task] is not None)
            for index, answer in zip(indices, unit.answers, strict=True):
                answers[index] = answer
        return answers

    def _key(self, task: str, kind: str, requests: "Sequence[Instance]") -> str:
        return unit_key(self._identity, task, kind, (request.args for request in requests), self._settings.of(kind))

    def _ask(self, task: str, kind: str, requests: "list[Instance]", key: str) -> Unit:
        why = self._store.why_missing(self._model.name, task, kind, self._model.made_with)
        documents = len({request.doc_id for request in requests})
        note = f" (stored answers not used, changed since: {', '.join(why)})" if why else ""
        self._say(self._line(task, f"{documents} documents{note}"))
        if not self._in_use:
            self._engine.use_adapter(self._model.adapter)
            self._engine.prune = self._settings.prune
            self._in_use = True
        cut_before = self._engine.truncated.get(task, 0)
        answers = getattr(self._engine, kind)(requests)
        cut = self._engine.truncated.get(task, 0) - cut_before
        unit = Unit(self._model.name, task, kind, list(answers), documents, cut, self._about_engine())
        return self._store.write(key, unit, self._model.made_with)

    def _about_engine(self) -> dict[str, Any]:
        if self._info is None:  # once: lm-eval's class asks the hub
            self._info = self._engine.get_model_info() if hasattr(self._engine, "get_model_info") else {}
        return {
            "info": self._info,
            "max_length": getattr(self._engine, "max_length", None),
            "eot_token_id": getattr(self._engine, "eot_token_id", None),
            "batch_sizes": dict(getattr(self._engine, "batch_sizes", None) or {}),
        }

    def _take(self, unit: Unit, key: str, from_store: bool) -> None:
        self.units[f"{unit.task} {unit.kind}"] = key
        self._about = unit.about
        if from_store:
            self._say(self._line(unit.task, "from the store"))
        if unit.task not in self._counted:
            self._counted.add(unit.task)
            self._progress.done += 1
        if unit.truncated:
            self.truncated[unit.task] = self.truncated.get(unit.task, 0) + unit.truncated
            self._say(
                f"WARNING: {self._model.name} · {unit.task}: {unit.truncated} of {unit.documents} documents did not "
                "fit and were cut (counted in the result file, config.fin.truncated); a larger max_model_len may help"
            )

    def _line(self, task: str, what: str) -> str:
        return f"[{self._progress.done + 1}/{self._progress.total}] {self._model.name} · {task}: {what}"

    def tell(self) -> None:
        """Say what was held back: without an engine it is not known until the end whether all answers are there."""
        for line in self._lines:
            say(line)
        self._lines.clear()

    def _say(self, line: str) -> None:
        self._lines.append(line)
        if self._engine is not None:
            self.tell()

    def get_model_info(self) -> dict[str, Any]:
        """What the model class tells about itself in the result file's `config`; as it was when it answered."""
        info = dict((self._about or {}).get("info") or {})
        ours = {"truncated": dict(self.truncated), "pruned": self._settings.prune}
        return {**info, "fin": {**(info.get("fin") or {}), **ours}}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The renderer's."""
        return str(self._renderer.apply_chat_template(chat_history, add_generation_prompt=add_generation_prompt))

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The renderer's."""
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
        """As the engine had it."""
        return (self._about or {}).get("eot_token_id")

    @property
    def max_length(self) -> Any:
        """As the engine had it, tokens."""
        return (self._about or {}).get("max_length")

    @property
    def batch_sizes(self) -> dict[str, Any]:
        """As the engine had them; lm-eval lists their values."""
        return dict((self._about or {}).get("batch_sizes") or {})
