"""Using a model that has learnt a task: answers for texts, loaded once."""
