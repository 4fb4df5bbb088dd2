"""What reading passes on from file to file, before models have names to show and entries stand in columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fin_plugins.board.model import Documents, Protocol
from fin_plugins.board.reading.files import RunFiles


@dataclass(frozen=True)
class Run:
    """What a result file says of all its tasks.

    Attributes:
        files: its files.
        date: start of the run, seconds since 1970.
        harness: lm-eval's version; empty where it does not say.
        engine: lm-eval's model class.
        arguments: model arguments.
        settings: what else a reader may want to know; no paths.
        chat: whether a chat template was applied.
        template: the template's hash; empty where the file does not say.
        dated: whether the template writes the day into the prompt, so that equal templates give unequal prompts.
        system: hash of the system message, empty without.
        names: model and base as they are to be shown, of the exported form only.
    """

    files: RunFiles
    date: float
    harness: str
    engine: str
    arguments: Mapping[str, Any]
    settings: dict[str, str]
    chat: bool
    template: str
    dated: bool
    system: str
    names: tuple[str, str | None] | None


@dataclass(frozen=True)
class Raw:
    """One task of a run, as the result file has it.

    Attributes:
        run: the run.
        name: lm-eval's name of the task.
        task: without `_gen`.
        protocol: `choice` or `gen`.
        seen: as the task says.
        data: `real`, `sample` or `unknown`.
        content: content hash of the test split; empty where the file has none.
        version: of the task.
        prompt: hash over what the prompt is made of.
        shots: few-shot examples.
        n: documents; None where the file does not say.
        total: documents of the test split; None where the file does not say.
        limit: number of documents where it was not all of them.
        filter: lm-eval's filter that the figures are behind.
        reported: figures by metric.
        labels: as the task's configuration lists them; empty where it does not.
        task_hash: lm-eval's hash over the sample file; empty where there is none.
        rows: hash over documents and label set, of the exported form only.
        prompts: hash over all prompts, of the exported form only.
        recomputed: metrics that must agree with the answers, of the exported form only.
        kept_notes: what an export keeps beside the notes on the samples; of the exported form also these.
        notes: for the reader.
    """

    run: Run
    name: str
    task: str
    protocol: Protocol
    seen: bool | None
    data: str
    content: str
    version: str
    prompt: str
    shots: int
    n: int | None
    total: int | None
    limit: str | None
    filter: str
    reported: dict[str, float]
    labels: tuple[str, ...]
    task_hash: str = ""
    rows: str = ""
    prompts: str = ""
    recomputed: tuple[str, ...] = ()
    kept_notes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """What the samples of a task say.

    Attributes:
        labels: label set.
        documents: outcome by document.
        rows: hash over documents and label set.
        prompts: hash over all prompts, in the order of the documents' hashes.
        recomputed: metrics that must agree with the reported ones.
        notes: for the reader.
    """

    labels: tuple[str, ...]
    documents: Documents
    rows: str
    prompts: str
    recomputed: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """A task of a run with its samples, where there are some that can be used.

    Attributes:
        raw: from the result file.
        answered: from the samples.
        rows: hash over documents and label set; empty where nothing tells.
        prompts: hash over all prompts, likewise.
        notes: for the reader.
    """

    raw: Raw
    answered: Answered | None
    rows: str
    prompts: str
    notes: tuple[str, ...] = ()

    @property
    def notes_on_samples(self) -> tuple[str, ...]:
        """Why there are none, or how they were read."""
        return (*self.raw.kept_notes, *(self.answered.notes if self.answered else ()), *self.notes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label set; empty where nothing tells."""
        return self.answered.labels if self.answered else self.raw.labels

    @property
    def n(self) -> int:
        """Number of documents."""
        return len(self.answered.documents.hashes) if self.answered else self.raw.n or 0
