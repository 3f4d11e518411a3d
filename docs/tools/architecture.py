"""The picture of the released network: stage 1, stage 2, and the stages after it (Wei et al. 2016, Figure 2)."""

from __future__ import annotations

from pathlib import Path

from diagram import BLUE, GRAY, GREEN, ORANGE, PALE_INK, Diagram

WIDTH, HEIGHT, GAP = 1.35, 1.15, 0.38
TRUNK = ("9x9\n128", "pool\n/2", "9x9\n128", "pool\n/2", "9x9\n128", "pool\n/2")
STAGE_1 = ("5x5\n32", "9x9\n512", "1x1\n512", "1x1\nP+1")
REFINE = ("11x11\n128", "11x11\n128", "11x11\n128", "1x1\n128", "1x1\nP+1")


def join(diagram: Diagram, x: float, y: float, layers: tuple[str, ...]) -> float:
    """Draw layers from left to right, an arrow before each; return where the last one ends."""
    for layer in layers:
        diagram.arrow((x, y + HEIGHT / 2), (x + GAP, y + HEIGHT / 2))
        diagram.box(x + GAP, y, WIDTH, HEIGHT, layer, GRAY if layer.startswith("pool") else BLUE, size=9)
        x += GAP + WIDTH
    return x


def draw_architecture(folder: Path) -> list[Path]:
    """Write architecture.svg."""
    diagram = Diagram(25.5, 13.6)
    top, middle, bottom, loop = 10.8, 7.5, 2.6, 0.6
    left, end = 0.9, 22.1

    diagram.text(left, 12.9, "Stage 1: beliefs from a window of 167 x 167 pixels", align="left", size=11.5)
    diagram.box(left, top, 2.3, HEIGHT, "crop\n3 x 368 x 368", ORANGE, size=8.5)
    stop = join(diagram, left + 2.3, top, TRUNK)
    diagram.text(8.4, top - 0.4, "trunk of stage 1", size=9, color=PALE_INK)
    stop = join(diagram, stop, top, STAGE_1)
    diagram.arrow((stop, top + HEIGHT / 2), (end, top + HEIGHT / 2))
    diagram.box(end, top, 2.9, HEIGHT, "beliefs 1\n(P+1) x 46 x 46", GREEN, size=8.5)

    diagram.text(left, 9.45, "Features for all later stages, computed once", align="left", size=11.5)
    diagram.box(left, middle, 2.3, HEIGHT, "crop\n3 x 368 x 368", ORANGE, size=8.5)
    stop = join(diagram, left + 2.3, middle, TRUNK)
    diagram.text(8.4, middle - 0.4, "trunk of the later stages: same shape, own weights", size=9, color=PALE_INK)
    diagram.arrow((stop, middle + HEIGHT / 2), (stop + 0.6, middle + HEIGHT / 2))
    diagram.box(stop + 0.6, middle, 2.8, HEIGHT, "features\n128 x 46 x 46", GREEN, size=8.5)
    features = stop + 2.0

    diagram.text(left, 5.7, "Stage t = 2 ... T: beliefs refined in a window of 31 x 31 cells", align="left", size=11.5)
    heights = (bottom + 2.05, bottom + 0.6, bottom - 0.85)
    inputs = (("features, own 5x5: 32", BLUE), ("beliefs t - 1: P+1", GREEN), ("center map, pooled: 1", ORANGE))
    for y, (name, color) in zip(heights, inputs, strict=True):
        diagram.box(left, y - 0.5, 3.7, 1.0, name, color, size=9)
        diagram.arrow((left + 3.7, y), (left + 5.2, y))
    diagram.box(left + 5.2, bottom - 1.35, 1.5, 3.9, "concat\n48", GRAY, size=9)
    stop = join(diagram, left + 6.7, bottom + 0.02, REFINE)
    diagram.arrow((stop, bottom + 0.6), (stop + 0.7, bottom + 0.6))
    diagram.box(stop + 0.7, bottom + 0.02, 2.9, HEIGHT, "beliefs t\n(P+1) x 46 x 46", GREEN, size=8.5)
    last = stop + 3.6
    diagram.arrow((last, bottom + 0.6), (last + 0.8, bottom + 0.6))
    diagram.text(last + 0.95, bottom + 0.6, "peaks: key points", align="left", size=8.5)

    # Features go into every later stage.
    down = heights[0]
    diagram.line((features, middle), (features, 6.4), (0.35, 6.4), (0.35, down))
    diagram.arrow((0.35, down), (left, down))
    diagram.text(features + 0.25, 6.8, "into every stage t", size=9, color=PALE_INK, align="left")
    # Beliefs of one stage go into the next: those of stage 1 into stage 2.
    diagram.line((end + 1.6, top), (end + 1.6, loop), (left + 4.4, loop), (left + 4.4, heights[1] - 0.3))
    diagram.line((last - 1.45, bottom), (last - 1.45, loop))
    diagram.arrow((left + 4.4, heights[1] - 0.3), (left + 3.7, heights[1] - 0.3))
    diagram.text(12.5, loop + 0.3, "input of the next stage", size=9, color=PALE_INK)
    diagram.text(end + 1.4, 6.8, "into stage 2", size=9, color=PALE_INK, align="right")
    return [diagram.write(folder / "architecture.svg")]
