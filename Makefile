# The verbs of this project. Override the interpreter and the environment's place:
#   make demo PYTHON=python3.12 VENV=/tmp/lla
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-long lint types docs golden gallery clean

demo: $(STAMP)
	@mkdir -p demo
	cd demo && $(abspath $(BIN))/lla analyze ../sample_checkpoints/digits_cnn.pt --figures figures
	@echo
	@echo "report:  $(abspath demo)/digits_cnn.lla.h5"
	@echo "page:    $(abspath demo)/digits_cnn.lla.html"
	@echo "figures: $(abspath demo)/figures"

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not long"

# Everything that takes longer than a few seconds; minutes, and two hundred killed runs.
test-long: $(STAMP)
	$(BIN)/python -m pytest -n 2 -x -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python docs/report_format.py

# The pictures that tests/plots/test_golden.py compares figures with: look at each before committing.
golden: $(STAMP)
	$(BIN)/python -m tests.plots.golden

# Every figure of docs/gallery.md by the command that stands beside it; some minutes.
gallery: $(STAMP)
	$(BIN)/python docs/gallery.py

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache

# Made again whenever what is to be installed changes; the pins keep a plain index from choosing a
# newer torch, with gigabytes of CUDA libraries, than the one that was tried.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,samples]"
	@touch $@
