"""Error bounds of results: ||out - oracle|| / ||oracle|| of the worst tensor, against float64."""

BOUNDS = {
    # Sums of up to 15,488 products forward and 135,424 in a weight's gradient; PyTorch, ONNX Runtime, OpenVINO and
    # OpenCV were measured at 2e-7 to 2e-6. Hidden tf32, or a border or a tap in the wrong place, gives more than 1e-4.
    ("layer", "fp32"): 1e-5,
    # 10 bits of mantissa: 3e-4 a layer by emulation, twice that through a transform.
    ("layer", "tf32"): 2e-3,
    ("layer", "fp16"): 2e-3,
    # 7 bits of mantissa.
    ("layer", "bf16"): 1.6e-2,
    # Errors of the layers add up: measured 1e-6 for stage 6.
    ("network", "fp32"): 1e-5,
    # Peers use whole pixels of the box and another cubic, ours fractions of a pixel; a pixel is 0.5 % of key points.
    ("end-to-end", "fp32"): 2e-2,
    # Twenty layers with the bound above, whose errors are independent of each other.
    ("network", "tf32"): 1e-2,
    ("network", "fp16"): 1e-2,
    ("network", "bf16"): 8e-2,
    # If two cells of a pooling window, or an activation and 0, are equal to rounding, the gradient may go either way,
    # which is 1e-3 of it; without that, 1e-5 is measured. The suite of layers bounds gradients by 1e-5.
    ("train-step", "fp32"): 1e-2,
    ("train-step", "tf32"): 1e-1,
    ("train-step", "fp16"): 1e-1,
    ("train-step", "bf16"): 4e-1,
}
