"""Which layer of a variant is which layer of the original, and on what evidence."""
