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
# If the box shrinks the picture by 2 or more, the needed part is averaged first.
shrink = 2 ** max(0, int(np.floor(-np.log2(zoom))))
ends = (np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]) - shift) / zoom
low = np.maximum(np.floor(ends[0]) - 3 * shrink, 0).astype(int)
high = np.minimum(np.ceil(ends[1]) + 3 * shrink + 1, image.shape[1::-1]).astype(int)
part = image[low[1] : high[1], low[0] : high[0]]
reduced = cv2.resize(part, [max(1, side // shrink) for side in part.shape[1::-1]], interpolation=cv2.INTER_AREA)
per = np.array(part.shape[1::-1]) / np.array(reduced.shape[1::-1])  # image pixels per reduced one
matrix = np.column_stack([np.diag(zoom * per), zoom * (low + (per - 1) / 2) + shift])
border = (config["padding_value"],) * 3
crop = cv2.warpAffine(reduced, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=border)
crop = crop[..., :: -1 if config["color"] == "rgb" else 1]
crops = ((crop - np.array(config["pixel_mean"])) / config["pixel_scale"]).transpose(2, 0, 1)[None].astype(np.float32)
parts_box, scores = session.run(None, {"crops": crops})
parts_image = (parts_box[0] - shift) / zoom
for name, (x, y), score in zip(config["skeleton"]["names"], parts_image, scores[0], strict=True):
    print(f"{name},{x:.4f},{y:.4f},{score:.4f}")
