"""`cpm-fast infer`: its inputs, and the work on pictures and on videos."""
