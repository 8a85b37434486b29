# The two commands of the README, and those of a developer. `.venv` is rebuilt when what it is made from changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow check docs bench release

demo: $(READY)
	$(BIN)/ggt-hub quickstart --output out/demo

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --timeout 3600

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/mkdocs build

bench: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks -s --benchmark-group-by=group -p no:cacheprovider

# The wheel that the Spaces' requirements name: built, checked, installed into an empty environment and run there.
# UPLOAD=1 sends it to the package index that twine is set up for; nothing else does.
release: $(READY)
	rm -rf out/release
	$(BIN)/python -m build --outdir out/release
	$(BIN)/python -m twine check --strict out/release/*
	version=$$($(BIN)/python -c 'import ggt_hub; print(ggt_hub.__version__)'); \
	for file in spaces/*/requirements.txt spaces/metrics/*/requirements.txt; do \
		grep -q "^ggt-hub.*==$$version$$" $$file || { echo "$$file does not name ggt-hub $$version" >&2; exit 1; }; \
	done; \
	test -f out/release/ggt_hub-$$version-py3-none-any.whl
	$(PYTHON) -m venv out/release/bare
	out/release/bare/bin/pip install -c constraints.txt "$$(ls $(CURDIR)/out/release/*.whl)[demo,metrics]"
	cd out/release && bare/bin/ggt-hub info && bare/bin/ggt-hub quickstart -o shown && bare/bin/ggt-hub publish --dry-run compact
	test "$(UPLOAD)" != 1 || $(BIN)/python -m twine upload out/release/*.whl out/release/*.tar.gz

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ggt-hub needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -c constraints.txt -e '.[all,test]'
	touch $(READY)
