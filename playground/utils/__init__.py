"""What the page and the command line are made of: numbers below, pictures and words above."""
