# The checks that .ci/run and the pre-commit hooks share.
PYTHON := $(or $(NUCLEI_PYTHON),.venv/bin/python)
export PYTHONPATH := src

.PHONY: check format-check lint types doctests format notebooks test lock licences audit
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

# All packages with their hashes, for Python 3.11 and 3.12 and every platform; after a change of requirements.txt.
lock: $(PYTHON)
	$(PYTHON) -m uv pip compile requirements.txt --universal --python-version 3.11 --generate-hashes --quiet \
		--no-annotate --no-emit-index-url --custom-compile-command "make lock" -o requirements.lock
# The licence of each installed package.
licences: $(PYTHON)
	(echo "# Licences of the installed packages"; echo; echo 'By `make licences`, on Linux.'; echo; \
		$(PYTHON) -m uv tool run pip-licenses@5.5.5 --python $(PYTHON) --format markdown | tr -s ' -') > docs/licences.md
# Known weaknesses of the packages; asks a database on the net.
audit: $(PYTHON)
	$(PYTHON) -m uv tool run pip-audit@2.10.1 -r requirements.lock --require-hashes --disable-pip

# run.sh makes the environment before it runs anything.
.venv/bin/python:
	./run.sh test --version
