"""What a task YAML may say under the keys that are ours: `dataset_kwargs` and `metadata.fin`.

lm-eval's own keys are lm-eval's to describe (`lm_eval.config.task.TaskConfig`). The loaders, the checker and the JSON
Schema for editors all read these models.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fin_plugins.common.validation import Number, StrictModel, Text, rule

Split = Literal["train", "validation", "test"]
Fraction = Annotated[float, Number, Field(gt=0, lt=1)]
SplitMethod = Literal["text_hash", "shuffle"]


class Card(StrictModel):
    """`metadata.fin`: what a reader of the results has to know about the data."""

    rows: Text | None = None
    """One of the data sets that ship with the package, as in `fomc`; left out where `dataset_kwargs` names a file."""
    seen: bool
    """Whether models are trained on this task; an unseen task shows what fine-tuning did to the others."""
    language: Text = "en"
    """Language of the texts, as ISO 639-1 has it."""
    source: Text
    """Where the data comes from: an address, or a sentence."""
    licence: Text
    """Licence of the data, as stated by whoever published it."""
    citation: Text | None = None
    """Paper to cite."""


class ShippedRows(StrictModel):
    """`dataset_kwargs` of `fin_plugins.tasks.rows.load`: a data set that ships with the package."""

    labels: list[Text]
    """The label set, in the order in which reports list it."""
    aliases: dict[Text, list[Text]] = Field(default_factory=dict)
    """Further spellings of a label that count as that label in a generated answer."""


class Columns(StrictModel):
    """Which columns of the table hold what."""

    text: Text = "text"
    """The text to classify; the template calls it `{{text}}`. In cells that hold JSON, dots lead to what is inside:
    `document.body`, `labels.0`."""
    label: Text = "label"
    """The right answer; dots lead inside here, too."""
    also: list[Text] = Field(default_factory=list)
    """Further columns that the template names, as in `{{company}}`."""

    @model_validator(mode="after")
    def _each_once(self) -> "Columns":
        twice = next((name for name in self.also if self.also.count(name) > 1), None)
        if twice is not None:
            raise rule("also", f"{twice} is named twice: take one of them out")
        return self


class Fractions(StrictModel):
    """Shares of the rows that are cut off as splits; the rest is `train`."""

    test: Annotated[float, Number, Field(gt=0, le=1)]
    """Share of the test rows; 1 for a table with nothing else in it."""
    validation: Fraction | None = None
    """Share of the validation rows."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "Fractions":
        if self.validation and self.test + self.validation >= 1:
            raise rule("validation", "test and validation take all rows: nothing is left to train on")
        return self


class OwnRows(StrictModel):
    """`dataset_kwargs` of `fin_plugins.tasks.own.load`: a labelled file, several, or a hub data set.

    Exactly one of `file`, `files` and `hub`. Paths are relative to the YAML. No key may be called like a model argument
    (`seed`, `revision`): lm-eval hands these to the loader in the same call, and a name given twice would stop it.
    """

    file: Text | None = None
    """One table with all rows: CSV, TSV, JSON, JSONL, Parquet or XLSX."""
    files: dict[Split, Text] | None = None
    """One table a split."""
    hub: Text | None = None
    """A hub data set, as in `owner/name`, or a local folder in that form."""
    hub_config: Text | None = None
    """Configuration of the hub data set."""
    hub_revision: Text | None = None
    """Commit of the hub data set, so that its rows stay what they are."""
    sheet: Text | None = None
    """The sheet of an XLSX workbook; must be named where several sheets have rows."""
    encoding: Text | None = None
    """Encoding of a text file that is neither UTF-8 nor begins with the mark of UTF-16, as in `cp1252`."""
    columns: Columns = Columns()
    """Which columns hold text and label."""
    labels: list[Text] | dict[Text, Text]
    """The label set. As a mapping: the value in the data, and the word that the model is asked for ("0": dovish)."""
    drop_labels: list[str] = Field(default_factory=list)
    """Values in the column of the label whose rows are left out, as in `N/A`; an empty one for rows without a label."""
    aliases: dict[Text, list[Text]] = Field(default_factory=dict)
    """Further spellings of a label (of the word, where there are words) that count as that label in an answer."""
    split_column: Text | None = None
    """Column that names each row's split (train, validation or dev or val, test)."""
    splits: Fractions | None = None
    """Where the data has no splits of its own: shares to cut off. Rows with the same text stay together. Splits that a
    hub data set has are put together first and cut anew."""
    split_seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 42
    """Of that cut, and of the order of the rows."""
    split_method: SplitMethod = "shuffle"
    """`text_hash`: each row's split and place in the order depend on its text and `split_seed` alone, so they stay what
    they are when the table grows. `shuffle`: rows are dealt anew when one is added; for files from before there was a
    choice."""

    @property
    def words(self) -> list[str]:
        """The label set as the model sees it, in order; two values in the data may stand for one word."""
        return list(dict.fromkeys(self.labels.values() if isinstance(self.labels, dict) else self.labels))

    @model_validator(mode="after")
    def _one_source(self) -> "OwnRows":
        named = [key for key in ("file", "files", "hub") if getattr(self, key) is not None]
        if len(named) != 1:
            raise rule(named[-1] if named else "file", "name one of file, files and hub")
        if (self.hub_config or self.hub_revision) and self.hub is None:
            raise rule("hub_config" if self.hub_config else "hub_revision", "is for hub data sets only")
        if self.hub and (self.sheet or self.encoding):
            raise rule("sheet" if self.sheet else "encoding", "is for files, not for hub data sets")
        return self

    @model_validator(mode="after")
    def _dropped_or_listed(self) -> "OwnRows":
        both = next((label for label in self.drop_labels if label in self.labels), None)
        if both is not None:
            raise rule("drop_labels", f"{both} is listed under labels, too: take it out of one of them")
        return self

    @model_validator(mode="after")
    def _one_way_to_split(self) -> "OwnRows":
        if self.splits and self.split_column:
            raise rule("splits", "split_column says it already: take one of them out")
        if self.files and (self.splits or self.split_column):
            raise rule("splits" if self.splits else "split_column", "files names the splits already")
        if self.file and not (self.splits or self.split_column):
            raise rule("file", "one table has no splits: add `splits: {test: 0.2}` or split_column")
        return self


OWN_ROWS_PLACEHOLDERS = {"file": "rows.csv", "splits": {"test": 0.2}, "labels": ["a", "b"]}
"""For the keys of `OwnRows` that must be there, a value that breaks no rule."""
