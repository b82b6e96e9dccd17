"""What the words of this page mean, in a sentence each: their tooltips on page and in report."""

from __future__ import annotations

TERMS = {
    "quantizer": "one quantized tensor of a variant: a weight with its bias, or an activation",
    "activation": "what flows from layer to layer; each sample has its own",
    "weight": "the numbers of a layer that are learnt and stand in the file",
    "channel": "one index of a weight's output axis, such as one filter of a convolution",
    "layer": "a node of the network that does work: Conv, Gemm, Relu; not the quantizing around it",
    "sample": "one input of samples.npz beside the models",
    "synthetic input": "random numbers in place of samples: good for the order, not for the level",
    "dB": "decibels of SQNR, the size of what is right over that of the error: 20 dB is 10 to 1, "
    "and 6 dB more is half the error",
    "SQNR": "signal to quantization noise: the size of the float numbers over that of the error",
    "share": "part of the noise at the output that these quantizers cause alone",
    "scale": "the step from one code to the next, in the unit of the weights",
    "zero-point": "the code that stands for exactly 0",
    "code": "an integer as the file stores it; value = (code − zero-point) × scale",
    "range": "from the lowest to the highest value",
    "variant": "one file of the same network: the float original, or one quantized build",
    "float": "the network before it was quantized: what the variants are compared with",
    "per-channel": "each output channel has a scale of its own",
    "per-tensor": "all weights of a layer have one scale",
    "right": "answers that are those of the labels, here and in float",
    "same answers": "how often the highest score is the one of float",
}
"""Each stands for its plural too."""
