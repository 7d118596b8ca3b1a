"""The machinery behind driver.py, vae.py and plot.py; docs/code-map.md says what happens where."""
