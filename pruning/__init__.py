"""The machinery behind driver.py, vae.py and plot.py; docs/code-map.md says what happens where."""
import os

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch reads it once. Its warnings of a lost peer are pages
