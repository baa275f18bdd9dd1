# The checks that .ci/run and the pre-commit hooks share.
PYTHON := $(or $(NUCLEI_PYTHON),.venv/bin/python)
export PYTHONPATH := src

.PHONY: check format-check lint types doctests format notebooks test
check: format-check lint types doctests

format-check: $(PYTHON)
	$(PYTHON) -m ruff format --check
lint: $(PYTHON)
	$(PYTHON) -m ruff check
types: $(PYTHON)
	$(PYTHON) -m mypy
doctests: $(PYTHON)
	$(PYTHON) -m pytest -q --doctest-modules src

format: $(PYTHON)
	$(PYTHON) -m ruff format
	$(PYTHON) -m ruff check --fix

# The notebooks are written as scripts; Kaggle wants them as .ipynb.
notebooks: $(PYTHON)
	$(PYTHON) -m jupytext --quiet --to ipynb --update kernels/*/*.py

test:
	./run.sh test

# run.sh makes the environment before it runs anything.
.venv/bin/python:
	./run.sh test --version
