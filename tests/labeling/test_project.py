"""A project's folder names its files, and its verbs use them."""

import shlex

import pytest

from cpm_fast.cli import BAD_USE, FINE, main, make_parser
from cpm_fast.commands.project import train_arguments
from cpm_fast.labeling.naming import find_skeleton, write_skeleton
from cpm_fast.labeling.project import new_project, read_project
from cpm_fast.skeleton import BUILT_IN, Skeleton
from support.labeling import SKELETON, draw_pictures


@pytest.fixture
def project(tmp_path):
    return new_project(tmp_path / "mice", SKELETON)


def test_what_is_made_is_read(project, capsys):
    again = read_project(project.folder)
    assert again == read_project(project.folder / "project.toml") and again.train == {"init": "compact-lsp"}
    assert (again.name, again.videos, again.frames_folder) == ("mice", ("videos/*",), project.folder / "frames")
    assert Skeleton.from_toml(again.frames_folder / "skeleton.toml") == SKELETON
    assert main(["project", "show", str(project.folder)]) == FINE
    assert "next      cpm-fast frames --project" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="not empty"):
        new_project(project.folder, SKELETON)


def test_show_says_what_comes_next(project, capsys):
    draw_pictures(project.frames_folder, 2)

    def leave_a_run():
        (project.folder / "runs/train-1").mkdir()
        (project.folder / "runs/train-1/final.safetensors").touch()

    for verb, prepare in (
        ("label", lambda: None),
        ("train", lambda: project.labels.write_text("image,head_x,head_y\nrun-000000.png,1,2\n")),
        ("suggest", leave_a_run),
    ):
        prepare()
        assert main(["project", "show", str(project.folder)]) == FINE
        assert f"next      cpm-fast {verb} --project {project.folder}" in capsys.readouterr().out


def test_commands_that_are_shown_can_be_typed(tmp_path, capsys):
    folder = tmp_path / "my mice; $(touch x)"
    assert main(["project", "new", str(folder), "--skeleton", "lsp"]) == FINE
    shown = capsys.readouterr().out.partition("then: ")[2]
    assert shlex.split(shown) == ["cpm-fast", "frames", "--project", str(folder)]


def test_the_last_training_that_ended_counts(project):
    for number, ended in ((1, True), (2, True), (10, True), (11, False)):
        run = project.folder / "runs" / f"train-{number}"
        run.mkdir()
        if ended:
            (run / "final.safetensors").touch()
    assert project.model() == project.folder / "runs/train-10/final.safetensors"
    assert project.next_run() == project.folder / "runs/train-3" and project.next_run("suggest").name == "suggest-1"


def test_videos_are_found(project, tmp_path):
    for name in ("b.mp4", "a.avi", "notes.txt"):
        (project.folder / "videos" / name).touch()
    assert [path.name for path in project.video_files()] == ["a.avi", "b.mp4"]
    with pytest.raises(FileNotFoundError, match="no such video"):
        new_project(tmp_path / "two", SKELETON, ("gone.mp4",)).video_files()
    with pytest.raises(ValueError, match="there must be a video"):
        new_project(tmp_path / "three", SKELETON).video_files()


def test_train_takes_the_projects_options(project):
    file = project.folder / "project.toml"
    file.write_text(file.read_text() + "epochs = 3\nscale = [0.9, 1.1]\nrecompute = true\nmirror = 0\n")
    options = make_parser().parse_args(["train", "--project", str(project.folder), "--epochs", "7"])
    words = train_arguments(options)
    full = make_parser().parse_args(["train", *words, "--project", str(project.folder), "--epochs", "7"])
    assert full.data == [str(project.labels)] and full.output == project.folder / "runs/train-1"
    assert (full.init, full.epochs, full.scale, full.recompute, full.mirror) == ("compact-lsp", 7, [0.9, 1.1], True, 0)
    options.resume = project.folder / "runs/train-1"
    assert train_arguments(options) == []
    file.write_text(file.read_text() + '"--output" = "elsewhere"\n')
    options.resume = None
    with pytest.raises(ValueError, match=r"project.toml: \[train\] must hold options"):
        train_arguments(options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 3", "name must be a str"),
        ("x = 1", "keys must be among"),
        ("videos = [1]", "videos must be a list"),
        ('frames = "../up"', "frames must be a folder within"),
        ('runs = "/tmp"', "runs must be a folder within"),
        ("name = ", "Invalid value"),
        ("a = " + "[" * 9000, "nested too deeply|Unclosed"),
        ("#" * 70_000, "at most"),
    ],
)
def test_a_damaged_project_is_named(tmp_path, text, message):
    (tmp_path / "project.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"project\.toml: .*({message})"):
        read_project(tmp_path)


def test_verbs_say_what_is_missing(tmp_path, capsys):
    for words in (["frames"], ["label"], ["suggest"], ["train"], ["project", "show"]):
        given = [str(tmp_path)] if words[0] == "project" else ["--project", str(tmp_path)]
        assert main([*words, *given]) == BAD_USE
        assert "no such project" in capsys.readouterr().err


@pytest.mark.parametrize("skeleton", [SKELETON, *BUILT_IN.values(), Skeleton('say "a"\\n', ("a",))])
def test_skeletons_are_written_and_read(tmp_path, skeleton):
    write_skeleton(skeleton, tmp_path / "skeleton.toml")
    assert Skeleton.from_toml(tmp_path / "skeleton.toml") == skeleton


def test_where_a_folders_parts_come_from(tmp_path):
    table = tmp_path / "labels.csv"
    with pytest.raises(ValueError, match="its parts must be named"):
        find_skeleton(tmp_path, None, table)
    table.write_text("image,left_a_x,left_a_y,right_a_x,right_a_y,b_x\n")
    assert find_skeleton(tmp_path, None, table).pairs == (("left_a", "right_a"),)
    table.unlink()
    assert find_skeleton(tmp_path, None, table, SKELETON) == SKELETON
    assert find_skeleton(tmp_path, None, table) == SKELETON
    with pytest.raises(ValueError, match="is another skeleton than lsp"):
        find_skeleton(tmp_path, "lsp", table)
