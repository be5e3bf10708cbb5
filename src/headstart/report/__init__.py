"""The transfer report: cells, curves, verdict, and what is shown of them."""
