"""Keys of a task YAML that are ours: `dataset_kwargs` and `metadata.fin`.

lm-eval's own keys are described by lm-eval (`lm_eval.config.task.TaskConfig`). Loaders, checker and the JSON Schema for
editors all use these models.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fin_plugins.common.validation import Number, StrictModel, Text, rule

SCHEMA_URL = "https://raw.githubusercontent.com/fin-plugins/fin-plugins/main/schema/task.schema.json"
"""Where editors find the JSON Schema of task files."""

Split = Literal["train", "validation", "test"]
Fraction = Annotated[float, Number, Field(gt=0, lt=1)]
SplitMethod = Literal["text_hash", "shuffle"]


class FinMetadata(StrictModel):
    """`metadata.fin`: facts about the data that readers of the results need."""

    rows: Text | None = None
    """A data set that ships with the package, such as `fomc`; omit it if `dataset_kwargs` names a file."""
    seen: bool
    """Whether models are trained on this task; an unseen task shows how fine-tuning affects other tasks."""
    language: Text = "en"
    """Language of the texts, an ISO 639-1 code."""
    source: Text
    """Where the data comes from: an address, or a sentence."""
    licence: Text
    """Licence of the data, as stated by its publisher."""
    citation: Text | None = None
    """Paper to cite."""


class BundledDatasetConfig(StrictModel):
    """`dataset_kwargs` of `fin_plugins.tasks.rows.load`: a data set that ships with the package."""

    labels: list[Text]
    """The label set, in the order in which reports list it."""
    aliases: dict[Text, list[Text]] = Field(default_factory=dict)
    """Further spellings of a label that count as that label in a generated answer."""


class Columns(StrictModel):
    """Which columns of the table hold what."""

    text: Text = "text"
    """The text to classify; the template calls it `{{text}}`. For cells that hold JSON, a dotted path names a value
    inside: `document.body`, `labels.0`."""
    label: Text = "label"
    """The right answer; may be a dotted path, too."""
    also: list[Text] = Field(default_factory=list)
    """Further columns that the template names, as in `{{company}}`."""

    @model_validator(mode="after")
    def _each_once(self) -> "Columns":
        duplicate = next((name for name in self.also if self.also.count(name) > 1), None)
        if duplicate is not None:
            raise rule("also", f"{duplicate} is listed twice: remove one of them")
        return self


class SplitShares(StrictModel):
    """Shares of the rows that are cut off as splits; the rest is `train`."""

    test: Annotated[float, Number, Field(gt=0, le=1)]
    """Share of the test rows; 1 if the table holds test rows only."""
    validation: Fraction | None = None
    """Share of the validation rows."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "SplitShares":
        if self.validation and self.test + self.validation >= 1:
            raise rule("validation", "test and validation take all rows: nothing is left to train on")
        return self


class CustomDatasetConfig(StrictModel):
    """`dataset_kwargs` of `fin_plugins.tasks.own.load`: one labelled file, several, or a Hub data set.

    Exactly one of `file`, `files` and `hub`. Paths are relative to the YAML. No key may have the name of a model
    argument (`seed`, `revision`): lm-eval passes both in one call, and a name given twice would be an error.
    """

    file: Text | None = None
    """One table with all rows: CSV, TSV, JSON, JSONL, Parquet or XLSX."""
    files: dict[Split, Text] | None = None
    """One table per split."""
    hub: Text | None = None
    """A Hub data set, `owner/name`, or a local folder with the layout of one."""
    hub_config: Text | None = None
    """Configuration of the Hub data set."""
    hub_revision: Text | None = None
    """Commit of the Hub data set, so that its rows never change."""
    sheet: Text | None = None
    """Sheet of an XLSX workbook; required if several sheets have rows."""
    encoding: Text | None = None
    """Encoding of a text file that is neither UTF-8 nor starts with a UTF-16 byte order mark, such as `cp1252`."""
    columns: Columns = Columns()
    """Which columns hold text and label."""
    labels: list[Text] | dict[Text, Text]
    """The label set. As a mapping: the value in the data, and the word that the model is asked for ("0": dovish)."""
    drop_labels: list[str] = Field(default_factory=list)
    """Values of the label column whose rows are dropped, such as `N/A`; an empty string for rows without a label."""
    aliases: dict[Text, list[Text]] = Field(default_factory=dict)
    """Further spellings of a label (of the word, if words are given) that count as that label in an answer."""
    split_column: Text | None = None
    """Column that names each row's split (train, validation or dev or val, test)."""
    splits: SplitShares | None = None
    """For data without splits of its own: shares to cut off. Rows with the same text stay together. The splits of a
    Hub data set are joined first and cut anew."""
    split_seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 42
    """Seed of the cut and of the order of the rows."""
    split_method: SplitMethod = "shuffle"
    """`text_hash`: each row's split and position depend on its text and `split_seed` alone, so they do not change when
    the table grows. `shuffle`: rows are reshuffled when one is added; for task files older than `text_hash`."""

    @property
    def words(self) -> list[str]:
        """The label set as the model sees it, in order; two values in the data may stand for one word."""
        return list(dict.fromkeys(self.labels.values() if isinstance(self.labels, dict) else self.labels))

    @model_validator(mode="after")
    def _one_source(self) -> "CustomDatasetConfig":
        sources = [key for key in ("file", "files", "hub") if getattr(self, key) is not None]
        if len(sources) != 1:
            raise rule(sources[-1] if sources else "file", "give exactly one of file, files and hub")
        if (self.hub_config or self.hub_revision) and self.hub is None:
            raise rule("hub_config" if self.hub_config else "hub_revision", "is for Hub data sets only")
        if self.hub and (self.sheet or self.encoding):
            raise rule("sheet" if self.sheet else "encoding", "is for files, not for Hub data sets")
        return self

    @model_validator(mode="after")
    def _dropped_or_listed(self) -> "CustomDatasetConfig":
        both = next((label for label in self.drop_labels if label in self.labels), None)
        if both is not None:
            raise rule("drop_labels", f"{both} is also listed under labels: remove one of them")
        return self

    @model_validator(mode="after")
    def _one_way_to_split(self) -> "CustomDatasetConfig":
        if self.splits and self.split_column:
            raise rule("splits", "split_column already defines the splits: remove one of them")
        if self.files and (self.splits or self.split_column):
            raise rule("splits" if self.splits else "split_column", "files already names the splits")
        if self.file and not (self.splits or self.split_column):
            raise rule("file", "one table has no splits: add `splits: {test: 0.2}` or split_column")
        return self


CUSTOM_DATASET_PLACEHOLDERS = {"file": "rows.csv", "splits": {"test": 0.2}, "labels": ["a", "b"]}
"""Valid values for the required keys of `CustomDatasetConfig`."""
