# `make demo`: the comparison on the embedded data set, with its figure. `make test`: the tests. Both set up .venv first.

PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: demo test lint

demo: .venv/ready
	$(VENV) driver.py --dataset 0 --compare
	$(VENV) plot.py logs/Digits

test: .venv/ready
	$(VENV) -m pip install --quiet scipy hypothesis
	$(VENV) -m pytest tests

# The code keeps to what Python 3.7 understands.
lint: .venv/ready
	$(VENV) -m pip install --quiet ruff vermin
	$(VENV) -m ruff check .
	.venv/bin/vermin --target=3.7- --violations --no-tips --eval-annotations *.py benchmarks reports tests

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet -r requirements.txt
	touch $@
