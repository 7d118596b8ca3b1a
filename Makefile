# Every target first sets up .venv.
#
#     make demo           the comparison on the data set that needs no download, with its figure
#     make test           the tests
#     make lint           ruff, and vermin for Python 3.8
#     make bench          the benchmarks, whose table goes into docs/performance.md
#     make experiments    hours of training; finished experiments are kept
#     make report         numbers, tables, figures and the PDF from reports/results

PYTHON ?= python3
VENV := .venv/bin/python

.PHONY: demo test lint bench experiments report

demo: .venv/ready
	$(VENV) driver.py --dataset 0 --compare
	$(VENV) plot.py logs/Digits

test: .venv/ready
	$(VENV) -m pip install --quiet scipy hypothesis pytest-xdist tensorboard torch-pruning==1.6.0
	$(VENV) -m pytest -n 2 --dist worksteal -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true tests

lint: .venv/ready
	$(VENV) -m pip install --quiet ruff vermin
	$(VENV) -m ruff check .
	.venv/bin/vermin --target=3.8- --violations --no-tips --eval-annotations *.py pruning benchmarks reports tests

bench: .venv/ready
	$(VENV) -m pip install --quiet torch-pruning==1.6.0
	$(VENV) benchmarks/bench.py

experiments: .venv/ready
	$(VENV) reports/experiments.py

report: .venv/ready
	$(VENV) -m pip install --quiet scipy
	$(VENV) reports/report.py
	@command -v latexmk > /dev/null || { echo "make: the PDF needs LaTeX, on Debian: apt-get install latexmk \
	texlive-latex-extra texlive-fonts-recommended" >&2; exit 2; }
	cd reports && latexmk -pdf -quiet -interaction=nonstopmode -halt-on-error report.tex && latexmk -c -quiet report.tex

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet -r requirements.txt
	touch $@
