"""Key points from a file of `cpm-fast export --decode`, without cpm_fast: MODEL.onnx PICTURE LEFT TOP RIGHT BOTTOM."""

import json
import sys

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
config = json.loads(session.get_modelmeta().custom_metadata_map["network"])
left, top, right, bottom = map(float, sys.argv[3:7])
height, width = config["input_size"]
zoom = max(height, width) / (config["margin"] * max(right - left, bottom - top))  # box pixels per image pixel
shift = np.array([width - 1, height - 1]) / 2 - zoom * np.array([left + right, top + bottom]) / 2
image = cv2.imread(sys.argv[2])
crop = cv2.warpAffine(image, np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]]), (width, height),
                      flags=cv2.INTER_CUBIC, borderValue=(config["padding_value"],) * 3)  # fmt: skip
crop = crop[..., :: -1 if config["color"] == "rgb" else 1]
crops = ((crop - np.array(config["pixel_mean"])) / config["pixel_scale"]).transpose(2, 0, 1)[None].astype(np.float32)
parts_box, scores = session.run(None, {"crops": crops})
parts_image = (parts_box[0] - shift) / zoom
for name, (x, y), score in zip(config["skeleton"]["names"], parts_image, scores[0], strict=True):
    print(f"{name},{x:.4f},{y:.4f},{score:.4f}")
