"""Pretrain transformers on your own data, transfer them, and learn whether pretraining paid."""
