"""Names in pictures are plain text for any content."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from cpm_fast.evaluation import curves
from cpm_fast.evaluation.curves import chart_text, score_curves
from cpm_fast.evaluation.rule import Rule
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.pictures import draw_curves

NAMES = [r"$\frac{", "cost $5", "$5 and $6", "$x_{$", r"a\$b$", "_hidden", "back\\slash", "100 %", "{}^_", ""]


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """Return the texts of every figure that was drawn."""
    texts: list[str] = []
    real = Figure.savefig

    def saved(self, *given, **more):
        for axes in self.axes:
            legend = axes.get_legend()
            texts.extend(text.get_text() for text in (legend.get_texts() if legend else ()))
            texts.append(axes.get_title())
        return real(self, *given, **more)

    monkeypatch.setattr(Figure, "savefig", saved)
    return texts


@pytest.mark.parametrize("name", NAMES)
def test_curves_of_scores(name, shown):
    rule = Rule(reference="torso", threshold=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = score_curves(rule, {name or "-": np.linspace(0, 1, len(rule.curve))}, name)
    assert png.startswith(b"\x89PNG") and {chart_text(name or "-"), chart_text(name)} <= set(shown)


@pytest.mark.parametrize("name", NAMES[::4])
def test_curves_of_a_training(name, shown, tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 20, "losses": [2.0, 1.5]})
    log.write({"step": 20, "data": name, "pck": [0.4, 0.5]})
    draw_curves(log, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sum(chart_text(name) in text for text in shown) >= 2


def test_without_the_escape_they_fail(monkeypatch):
    """The test above can fail: Matplotlib reads these names as mathematics."""
    monkeypatch.setattr(curves, "chart_text", lambda text: text)
    rule = Rule(reference="torso", threshold=0.2)
    with pytest.raises(ValueError, match="frac"):
        score_curves(rule, {r"$\frac{$": np.linspace(0, 1, len(rule.curve))}, "title")
