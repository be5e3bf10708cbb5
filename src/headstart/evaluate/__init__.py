"""Checkpoint or arm in, numbers with their spread out: metrics, baselines, statistics."""
