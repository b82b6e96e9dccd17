"""A weight chunk by chunk beside its float original: nothing of a weight's size is allocated."""
