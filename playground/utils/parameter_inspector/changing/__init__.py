"""Another quantization: schemes, candidates, plans, and the file written again."""
