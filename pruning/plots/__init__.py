"""From text logs to figures and tables."""
