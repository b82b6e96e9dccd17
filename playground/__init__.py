"""A page that shows what quantization did to a network, and the engine that finds it out."""
