"""The picture of a spectral convolution: tiles, transform, product per frequency, transform back."""

from __future__ import annotations

from pathlib import Path

from matplotlib.patches import Rectangle

from diagram import BLUE, GREEN, INK, ORANGE, PALE_INK, Diagram

MAP, TILES = 4.6, 3


def draw_grid(diagram: Diagram, x: float, y: float, side: float, cells: int, color: str) -> None:
    """Draw a square of cells x cells squares."""
    step = side / cells
    for i in range(cells):
        for j in range(cells):
            diagram.axes.add_patch(
                Rectangle((x + i * step, y + j * step), step, step, facecolor=color, edgecolor="white", linewidth=0.6)
            )
    diagram.axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=INK, linewidth=0.9))


def draw_stack(diagram: Diagram, x: float, y: float, side: float, cells: int, color: str, sheets: int = 3) -> None:
    """Draw several grids behind each other: the channels."""
    for sheet in reversed(range(sheets)):
        draw_grid(diagram, x + 0.22 * sheet, y + 0.22 * sheet, side, cells, color)


def draw_spectral(folder: Path) -> list[Path]:
    """Write spectral-convolution.svg."""
    diagram = Diagram(25.5, 8.6)
    low = 2.3
    # The map with its outputs, and one tile that reaches k - 1 cells beyond them.
    draw_grid(diagram, 0.4, low, MAP, 12, "#eceff1")
    third = MAP / TILES
    for i in range(TILES):
        for j in range(TILES):
            corner = (0.4 + i * third, low + j * third)
            diagram.axes.add_patch(Rectangle(corner, third, third, fill=False, edgecolor=PALE_INK, linewidth=1.2))
    halo = MAP / 12
    diagram.axes.add_patch(
        Rectangle(
            (0.4 + third - halo, low + third - halo),
            third + 2 * halo,
            third + 2 * halo,
            facecolor=ORANGE,
            edgecolor="#e65100",
            linewidth=1.6,
            alpha=0.75,
        )
    )
    diagram.axes.add_patch(
        Rectangle((0.4 + third, low + third), third, third, fill=False, edgecolor="#e65100", linewidth=1.2)
    )
    diagram.text(0.4 + MAP / 2, 7.55, "1. tile", size=11.5)
    diagram.text(0.4 + MAP / 2, 1.55, "a tile of t x t cells gives\nm x m outputs, m = t - k + 1", size=9)

    diagram.arrow((5.3, low + MAP / 2), (6.6, low + MAP / 2))
    diagram.text(5.95, low + MAP / 2 + 0.4, "DFT", size=9)
    draw_stack(diagram, 6.8, low + 0.9, 2.6, 6, BLUE)
    diagram.text(8.3, 7.55, "2. transform", size=11.5)
    diagram.text(8.3, 1.55, "C_in channels per tile,\nabout t x t / 2 frequencies", size=9)

    diagram.arrow((10.1, low + MAP / 2), (11.3, low + MAP / 2))
    middle = 11.5
    diagram.box(middle, low + 2.55, 2.1, 1.7, "tiles\nx C_in", BLUE, size=9)
    diagram.text(middle + 2.45, low + 3.4, "·", size=20)
    diagram.box(middle + 2.8, low + 2.55, 2.1, 1.7, "C_in\nx C_out", ORANGE, size=9)
    diagram.text(middle + 5.25, low + 3.4, "=", size=14)
    diagram.box(middle + 5.6, low + 2.55, 2.1, 1.7, "tiles\nx C_out", GREEN, size=9)
    diagram.text(middle + 3.85, 7.55, "3. multiply, once per frequency", size=11.5)
    diagram.text(middle + 3.85, low + 2.1, "transformed weights, made once", size=9, color=PALE_INK)
    diagram.text(
        middle + 3.85, 1.55, "a complex matrix product per frequency;\nthe kernel size no longer matters", size=9
    )

    diagram.arrow((19.4, low + MAP / 2), (20.9, low + MAP / 2))
    diagram.text(20.15, low + MAP / 2 + 0.4, "DFT⁻¹", size=9)
    draw_stack(diagram, 21.1, low + 0.6, 3.0, 6, GREEN)
    inner = 3.0 / 6
    diagram.axes.add_patch(
        Rectangle(
            (21.1 + inner, low + 0.6 + inner),
            3.0 - 2 * inner,
            3.0 - 2 * inner,
            fill=False,
            edgecolor="#1b5e20",
            linewidth=2,
        )
    )
    diagram.text(22.9, 7.55, "4. transform back", size=11.5)
    diagram.text(22.9, 1.55, "keep m x m cells,\nadd bias, ReLU, pool", size=9)
    return [diagram.write(folder / "spectral-convolution.svg")]
