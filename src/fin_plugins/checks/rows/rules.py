"""What the rules about rows, prompts and tokens are about, and why each matters."""

from fin_plugins.checks.model import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "D01",
        "data file cannot be read",
        "Nothing can be run without the rows. The message says what is wrong with the file. Tables may be CSV, TSV, "
        "JSON, JSONL, Parquet or XLSX, text in UTF-8; their path is relative to the task file.",
    ),
    Rule(
        "D02",
        "column is not in the data",
        "`columns` says which column of the table holds the text, which one the label and which others the template "
        "needs. The names are those of the table's first line, with their capitals and blanks.",
    ),
    Rule(
        "D03",
        "label in the data that is not listed",
        "The model is only ever offered the labels of the list, so a row with another one cannot be answered and "
        "stops the run. Correct the cells, add the label to `labels`, or write `labels` as a mapping from the value "
        "in the data to the word the model is asked for.",
    ),
    Rule(
        "D04",
        "listed label without rows",
        "A label that no row carries only draws wrong answers; it often is a misspelling of one that rows do carry. "
        "One without test rows has no F1, which macro F1 counts as 0; one without train rows is never learnt, and no "
        "few-shot example shows it.",
    ),
    Rule(
        "D05",
        "rows without text",
        "There is nothing to classify: the loader leaves these rows out, and the score is of fewer rows than the file "
        "has. Fill in the text or take the rows out.",
    ),
    Rule(
        "D06",
        "test rows also in train",
        "A model that was trained on a test row, or sees it as a few-shot example, remembers it instead of "
        "classifying it, and the score is too good. Texts are compared without regard to capitals, blanks and Unicode "
        "form. Our loader leaves such rows out of train; lm-eval's own data sets are taken as they are. Take the rows "
        "out, or let `splits` cut the table: rows with the same text then stay together.",
    ),
    Rule(
        "D07",
        "same text with different labels",
        "A model gives one answer to one text, so at most the commonest of its labels can be scored as right: the "
        "message says how high the accuracy can be at best. Under 5 % of a split's rows nothing is reported, because "
        "human annotators disagree that often. Decide for one label, or give the template a further column "
        "(`columns: {also: […]}`) that tells the rows apart.",
    ),
    Rule(
        "D08",
        "split that the data does not have",
        "lm-eval looks the split up by this very name when the task is loaded, and stops where it is not there.",
    ),
    Rule(
        "D09",
        "too few test rows",
        "With fewer than 10 test rows in all, or fewer than 3 of a label, one row more or less decides the score. "
        "Take a larger share for test, or find more rows.",
    ),
    Rule(
        "D10",
        "unknown name in the split column",
        "The cells of `split_column` say train, validation (or dev, or val) or test. Rows with anything else belong to "
        "no split.",
    ),
    Rule(
        "D11",
        "loader stops",
        "The loader was tried with these rows and stopped; the message is its own. lm-eval would stop there too.",
    ),
    Rule(
        "P01",
        "template names a column that is not there",
        "lm-eval stops at the first row. A template sees the columns `text` and `label` whatever they are called in "
        "the table, the further ones that `columns: {also: […]}` lists under their own names, and `choices`, `gold` "
        "and `id`.",
    ),
    Rule("P02", "template cannot be read", "It is no Jinja; the message says what stands where."),
    Rule(
        "P03",
        "empty prompt",
        "The model is asked nothing, so its answer says nothing about the row.",
    ),
    Rule(
        "P04",
        "same prompt for all rows",
        "The template does not show the row's text, so all rows get the same answer. Name a column in double braces, "
        "as in `{{text}}`.",
    ),
    Rule(
        "P05",
        "prompt shows the right answer",
        "The prompt changes with the label alone, or shows a column that says the same: the model can copy the answer. "
        "An instruction that lists all labels is fine, and so is a text in which a label's word happens to stand.",
    ),
    Rule(
        "P06",
        "blank at the end of the prompt",
        "Tokenizers join a blank with the word behind it, so behind a blank a label begins with a token that models "
        "hardly ever see there, and scores drop. lm-eval puts `target_delimiter` in between by itself.",
    ),
    Rule(
        "P07",
        "instruction leaves out a label",
        "The instruction names some labels and not the others. Where answers are generated, the model has no way to "
        "know of them; where labels are scored, they are at a disadvantage.",
    ),
    Rule(
        "P08",
        "instruction names what is no label",
        "A model that answers as it was told is scored as wrong. Correct the word, list it under `labels`, or make it "
        "another spelling of a label under `aliases`.",
    ),
    Rule(
        "P09",
        "template fails",
        "The template can be read but not rendered for some row, and lm-eval stops there. A prompt of digits alone "
        "is counted here too: lm-eval takes it for a number.",
    ),
    Rule(
        "T01",
        "label without tokens of its own",
        "The tokenizer joins the label with the end of the prompt, so nothing is left to score: the label's "
        "log-likelihood is 0, the highest there is, and it wins every time. Change `gen_prefix` or "
        "`target_delimiter`.",
    ),
    Rule(
        "T02",
        "labels with the same tokens",
        "They get the same score in every row, and the first one is always taken. Choose words that the tokenizer "
        "tells apart.",
    ),
    Rule(
        "T03",
        "label's tokens begin another's",
        "A label's score is the sum over its tokens, each of them zero at most: a label that goes on where another "
        "ends can never score higher than it, so it is never the answer. Choose words that do not begin alike to "
        "their end.",
    ),
    Rule(
        "T04",
        "rows longer than the model's context",
        "lm-eval cuts the beginning of what is too long, which is the instruction, and scores what is left. Shorten "
        "the texts or the instruction, or take a model with a longer context.",
    ),
)
