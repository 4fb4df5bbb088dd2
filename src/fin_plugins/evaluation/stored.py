"""A language model that answers from the store, and asks the engine only for what is not there."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fin_plugins.common.console import say
from fin_plugins.common.hashing import digest
from fin_plugins.evaluation.along import Along, requests_of
from fin_plugins.evaluation.display import document_progress
from fin_plugins.evaluation.facade import Facade
from fin_plugins.evaluation.prompts import NoEngine
from fin_plugins.evaluation.store import Store, Unit, unit_key
from fin_plugins.evaluation.units import Model, Progress, Settings

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


class StoredLM(Facade):
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
        attached: Callable[[], None] = lambda: None,
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
            attached: called when the engine has put the model in use, before anything is asked.
        """
        super().__init__(renderer)
        self._model = model
        self._store = store
        self._settings = settings
        self._progress = progress
        self._engine = engine
        self._before_asking = before_asking
        self._attached = attached
        self._along = Along(engine)
        self._tasks: Mapping[str, Any] = {}
        self._taken: dict[str, Unit] = {}
        self._identity = digest(model.made_with)
        self._info: dict[str, Any] | None = None
        self._in_use = False
        self._counted: set[str] = set()
        self._lines: list[str] = []
        self.units: dict[str, str] = {}
        """Keys of the units answered from, by task and request type."""
        self.truncated: dict[str, int] = {}
        """Number of documents that were cut because they did not fit, by task; tasks without any are left out."""
        self.trained_on: dict[str, int] | None = None
        """Number of test rows that the model was trained on, by task; None where no record of that is beside it."""

    def expect(self, tasks: Mapping[str, Any]) -> None:
        """Tell which tasks are going to be asked (their names and lm-eval's objects), before the first answer."""
        self._tasks = tasks

    def loglikelihood(self, requests: "list[Instance]") -> list[tuple[float, bool]]:
        """From the store or the engine."""
        return [tuple(answer) for answer in self._answer("loglikelihood", requests)]

    def loglikelihood_rolling(self, requests: "list[Instance]") -> list[float]:
        """From the store or the engine."""
        return self._answer("loglikelihood_rolling", requests)

    def generate_until(self, requests: "list[Instance]") -> list[str]:
        """From the store or the engine; an engine that writes replies along with labels is asked the labels first."""
        labels = requests_of(self._tasks, "loglikelihood") if self._along.offered else {}
        if labels:
            self._answer("loglikelihood", [one for mine in labels.values() for one in mine])
        return self._answer("generate_until", requests)

    def _answer(self, kind: str, requests: "list[Instance]") -> list[Any]:
        by_task: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_task.setdefault(str(request.task_name), []).append(index)
        asked = {task: [requests[index] for index in indices] for task, indices in by_task.items()}
        keys = {task: self._key(task, kind, mine) for task, mine in asked.items()}
        units = {task: self._read(keys[task], mine) for task, mine in asked.items()}
        if not all(units.values()):
            self._before_asking()
            if self._engine is None:
                raise NoEngine
        answers: list[Any] = [None] * len(requests)
        for task, indices in by_task.items():
            unit = units[task] or self._ask(task, kind, asked[task], keys[task])
            self._take(unit, keys[task], from_store=units[task] is not None)
            if units[task] is None:
                self._take_replies(asked[task])
            for index, answer in zip(indices, unit.answers, strict=True):
                answers[index] = answer
        return answers

    def _read(self, key: str, requests: "Sequence[Instance]") -> Unit | None:
        return self._taken.get(key) or self._store.read(key, len(requests))

    def _expect_replies(self) -> None:
        """Tell the engine which replies are not stored; it may write them along with the labels of the same prompts."""
        kind = "generate_until"
        expected = requests_of(self._tasks, kind)
        keys = {task: self._key(task, kind, mine) for task, mine in expected.items()}
        self._along.expect({task: mine for task, mine in expected.items() if self._read(keys[task], mine) is None})

    def _take_replies(self, labels: "Sequence[Instance]") -> None:
        """Store the replies that came along with these labels, so that a stop from here on does not lose them."""
        for task, mine in self._along.whole(labels).items():
            key = self._key(task, "generate_until", mine)
            self._take(self._ask(task, "generate_until", mine, key), key, from_store=False)

    def _key(self, task: str, kind: str, requests: "Sequence[Instance]") -> str:
        return unit_key(self._identity, task, kind, (request.args for request in requests), self._settings.of(kind))

    def _ask(self, task: str, kind: str, requests: "list[Instance]", key: str) -> Unit:
        why = self._store.why_missing(self._model.name, task, kind, self._model.made_with)
        documents = len({request.doc_id for request in requests})
        note = f" (stored answers not used, changed since: {', '.join(why)})" if why else ""
        label = self._line(task)
        self._say(f"{label}: {documents} documents{note}")
        if not self._in_use:
            self._engine.use_adapter(self._model.adapter)
            self._attached()
            self._engine.prune = self._settings.prune
            self._in_use = True
            if self._along.offered:
                self._expect_replies()
        cut_before = self._engine.truncated.get(task, 0)
        with document_progress(label, documents, len(requests)) as self._engine.on_answers:
            answers = getattr(self._engine, kind)(requests)
        self._engine.on_answers = None
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
        if key in self._taken:
            return
        self._taken[key] = unit
        self.units[f"{unit.task} {unit.kind}"] = key
        self._about = unit.about
        if from_store:
            self._say(f"{self._line(unit.task)}: from the store")
        if unit.task not in self._counted:
            self._counted.add(unit.task)
            self._progress.done += 1
        if unit.truncated:
            self.truncated[unit.task] = self.truncated.get(unit.task, 0) + unit.truncated
            self._say(
                f"WARNING: {self._model.name} · {unit.task}: {unit.truncated} of {unit.documents} documents did not "
                "fit and were cut (counted in the result file, config.fin.truncated); a larger max_model_len may help"
            )

    def _line(self, task: str) -> str:
        return f"[{self._progress.done + 1}/{self._progress.total}] {self._model.name} · {task}"

    def tell(self) -> None:
        """Say what was held back: without an engine it is not known until the end whether all answers are there."""
        for line in self._lines:
            say(line)
        self._lines.clear()

    def _say(self, line: str) -> None:
        self._lines.append(line)
        if self._engine is not None:
            self.tell()

    def _told(self) -> dict[str, Any]:
        trained_on = {} if self.trained_on is None else {"test_rows_trained_on": self.trained_on}
        return {"truncated": dict(self.truncated), "pruned": self._settings.prune, **trained_on}
