"""Raw files to examples to batches. Knows no model."""
