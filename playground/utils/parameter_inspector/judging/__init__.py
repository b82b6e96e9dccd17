"""Numbers -> findings: one function per rule. Nothing here reads a file or walks a weight."""
