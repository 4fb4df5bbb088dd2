"""The output files of a board: an HTML page, Markdown, CSV, JSON and LaTeX. See `write_board`."""
