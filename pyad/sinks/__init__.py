"""Where verdicts and rows go: Zeek-format logs and summaries."""
