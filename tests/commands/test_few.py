"""Few samples of one's own: training starts from bundled weights with its own recipe."""

import json

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_USE, FINE, main
from cpm_fast.commands import train as command
from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import FEW_STEPS, RECIPES
from cpm_fast.training.loop import without_mirroring
from cpm_fast.training.start import start_from
from cpm_fast.weights import weights_file
from support.pages import commands


@pytest.fixture(autouse=True)
def given(tmp_path, monkeypatch):
    """Write a table of seven pictures, and record the settings of the training."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((90, 90, 3), np.uint8))
    write(7)
    calls = []
    monkeypatch.setattr(command, "train", lambda *given, **more: calls.append((given, more)))
    for preset in command.FEW_STARTS:
        (tmp_path / "runs" / preset).mkdir(parents=True)
        (tmp_path / "runs" / preset / command.START_FILE).write_text("loaded\n")
    return calls


def write(rows: int) -> None:
    with open("m.csv", "w", encoding="utf-8") as file:
        file.write("image,nose_x,nose_y,ear_left_x,ear_left_y\n" + "a.png,50,20,70,50\n" * rows)


def run(given, *arguments: str):
    """Return network, recipe, training data and options of the training that a command starts."""
    given.clear()
    assert main(["train", "--data", "m.csv", *arguments]) == FINE
    ((network, config, data, _, _), more) = given[0]
    return network, config, data, more


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ((), "compact-lsp"),
        (("--preset", "base"), "base-lsp"),
        (("--preset", "base", "--init", "base-lsp"), "base-lsp"),
    ],
    ids=["default", "a larger preset", "its weights named"],
)
def test_few_samples_start_from_bundled_weights(options, start, given, capsys):
    network, config, data, more = run(given, "--hold-out", "2", *options)
    assert more["start"] == str(weights_file(start))
    assert network.skeleton.names == ("nose", "ear_left")
    few = RECIPES["few"]
    assert config.augmentation == few.augmentation and config.learning_rate == few.learning_rate
    assert sum(map(len, data)) == 5 and config.epochs == FEW_STEPS
    assert more["options"].validate_every == FEW_STEPS / command.FEW_VALIDATIONS
    assert f"few samples: the recipe few (400 epochs), starting from {start};" in capsys.readouterr().out


def test_layers_that_grow_are_not_frozen(given):
    network, config, _, more = run(given, "--hold-out", "2", "--width", "1.5")
    assert more["start"] == str(weights_file("compact-lsp")) and config.frozen_blocks == 0
    assert RECIPES["few"].frozen_blocks > 0 and config.augmentation == RECIPES["few"].augmentation
    model = CPM(network)
    loaded = start_from(model, more["start"])
    assert loaded.taken and any(fate.startswith("grown") for _, _, fate in loaded.layers)


def test_many_samples_do_not(given):
    write(command.FEW_SAMPLES + 3)
    _, config, _, more = run(given, "--hold-out", "2")
    assert more["start"] is None and config == RECIPES["modern"]
    _, config, _, more = run(given, "--hold-out", "3")
    assert more["start"] is not None and config.augmentation == RECIPES["few"].augmentation


@pytest.mark.parametrize(
    "arguments",
    [
        ("--recipe", "modern"),
        ("--preset", "cpm6"),
        ("--data", "synthetic:9", "--hold-out", "1"),
        ("--data", "synthetic-scenes:9", "--hold-out", "1"),
    ],
    ids=str,
)
def test_what_was_asked_for_is_not_changed(given, arguments):
    _, config, _, more = run(given, "--hold-out", "2", *arguments)
    assert more["start"] is None and config == RECIPES["modern"]


def test_other_options_stay_as_they_are(given):
    _, config, _, more = run(given, "--epochs", "3", "--rotate", "90")
    assert config.epochs == 3 and config.augmentation.rotate_degrees == 90 and config.augmentation.scale_min == 0.9
    assert more["start"] is not None
    _, config, _, more = run(given, "--init", "compact-drawn")
    assert more["start"] == str(weights_file("compact-drawn")) and config == RECIPES["modern"]


def test_without_options_72_samples_train_as_docs_own_animal_says(given):
    """The mouse's sides have no partners, as here, so mirroring is off by default."""
    write(90)
    found = run(given, "--hold-out", "18")
    options = next(line for line in commands("docs/own-animal.md") if line.startswith("cpm-fast train --data mouse/"))
    wanted = run(given, *options.split()[4:-2])
    assert found[:2] == wanted[:2] and found[3]["start"] == wanted[3]["start"] == str(weights_file("compact-lsp"))
    config = found[1]
    assert (config.batch, config.frozen_blocks, config.augmentation.rotate_degrees) == (
        8,
        2,
        10,
    ) and config.augmentation.scale_max == 1.1
    assert round(config.epochs * (72 // config.batch)) == FEW_STEPS == 400
    assert found[3]["options"].validate_every == config.epochs / 2
    # Training converts it by `without_mirroring`.
    assert without_mirroring(config, found[0]).augmentation.flip_probability == 0


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"epochs": 3}, RECIPES["modern"].changed({"epochs": 3})),
        ({"recipe": "paper", "batch": 4}, RECIPES["paper"].changed({"batch": 4})),
        (
            {"recipe": "long", "augmentation": {"rotate_degrees": 5}},
            RECIPES["long"].changed({"augmentation": {"rotate_degrees": 5}}),
        ),
        ({"training": RECIPES["few"].to_dict(), "network": {}}, RECIPES["few"]),
    ],
    ids=["one field", "of the paper", "of long", "a run's config.json"],
)
def test_a_file_inherits_from_the_default_or_the_named_recipe(given, tmp_path, values, wanted):
    (tmp_path / "mine.json").write_text(json.dumps(values))
    assert run(given, "--recipe", "mine.json")[1] == wanted


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"epoch": 3}, "training has no field 'epoch'; did you mean epochs?"),
        ({"augmentation": {"rotate": 3}}, "augmentation has no field 'rotate'; did you mean rotate_degrees?"),
        ({"recipe": "modem"}, "got 'modem'; did you mean 'modern'?"),
        ({"epochs": "many"}, "epochs must be a positive number"),
        ([3], "must be a table of fields"),
    ],
    ids=["field", "augmentation", "recipe", "value", "list"],
)
def test_a_typing_error_in_a_recipe_is_told(values, told, tmp_path, capsys):
    (tmp_path / "mine.json").write_text(json.dumps(values))
    assert main(["train", "--data", "m.csv", "--recipe", "mine.json"]) == BAD_USE
    assert told in capsys.readouterr().err
    assert main(["train", "--data", "m.csv", "--recipe", "modem"]) == BAD_USE
    assert "did you mean 'modern'?" in capsys.readouterr().err
