"""Skeletons: built in, from dictionaries and from files."""

import json

import pytest

from cpm_fast.skeleton import BUILT_IN, COCO, FLIC, LEFT_COLOR, LSP, MIDDLE_COLOR, MPII, RIGHT_COLOR, Skeleton

built_in = pytest.mark.parametrize("skeleton", BUILT_IN.values(), ids=BUILT_IN.keys())


@built_in
def test_mirror_is_an_involution(skeleton):
    assert sorted(skeleton.mirror) == list(range(len(skeleton)))
    assert [skeleton.mirror[i] for i in skeleton.mirror] == list(range(len(skeleton)))
    for part, mirrored in zip(skeleton.names, skeleton.mirror, strict=True):
        swapped = part.replace("left_", "L_").replace("right_", "left_").replace("L_", "right_")
        assert skeleton.names[mirrored] == swapped


@built_in
def test_round_trip_through_json(skeleton):
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton


@built_in
def test_limbs_join_every_part(skeleton):
    joined = {index for limb in skeleton.limb_indices for index in limb}
    # FLIC is drawn only by its arms, as in the release.
    assert len(joined) == (6 if skeleton.name == "flic" else len(skeleton))


def test_released_orders():
    assert len(LSP) == 14
    assert LSP.names[:5] == ("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist")
    assert LSP.mirror == (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10)
    assert FLIC.names[0] == "left_shoulder"
    assert FLIC.names[-1] == "nose"
    assert FLIC.mirror == (3, 4, 5, 0, 1, 2, 7, 6, 8)
    assert len(COCO) == 17


def test_order_from():
    # The release's selection of its 14 parts out of the 16 points of an MPII annotation.
    assert LSP.order_from(MPII.names) == [9, 8, 12, 11, 10, 13, 14, 15, 2, 1, 0, 3, 4, 5]
    assert LSP.order_from(LSP.names) == list(range(14))
    assert LSP.order_from(["neck", "pelvis"]) == [-1, 0] + [-1] * 12


def test_colors_tell_sides_apart():
    assert LSP.colors[LSP.index("left_knee")] == LEFT_COLOR
    assert LSP.colors[LSP.index("right_knee")] == RIGHT_COLOR
    assert LSP.colors[LSP.index("neck")] == MIDDLE_COLOR


def test_index_rejects_an_unknown_part():
    with pytest.raises(ValueError, match="part must be one of .*, got 'tail'"):
        LSP.index("tail")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"names": ()}, "names must hold at least one part"),
        ({"names": ("a", "a")}, "names must be unique"),
        ({"names": ("a", "")}, "a part name must be 1 to 200 printable"),
        ({"names": ("a", " ")}, "a part name must be 1 to 200 printable"),
        ({"names": ("a", "b\n")}, "a part name must be 1 to 200 printable"),
        ({"names": ("a", 3)}, "a part name must be 1 to 200 printable"),
        ({"names": ("a", "b"), "limbs": (("a", "c"),)}, "limbs must join two of its parts, got \\['a', 'c'\\]"),
        ({"names": ("a", "b"), "limbs": (("a", "a"),)}, "limbs must join two of its parts"),
        ({"names": ("a", "b"), "pairs": (("a", "b", "a"),)}, "pairs must join two of its parts"),
        ({"names": ("a", "b", "c"), "pairs": (("a", "b"), ("b", "c"))}, "a part may stand in one pair only"),
    ],
)
def test_rejects(values, message):
    with pytest.raises(ValueError, match=f"skeleton 'mine': .*{message}"):
        Skeleton(name="mine", **values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": "mine"},
        {"names": ["a"], "joints": []},
        {"names": ["a", "b"], "limbs": [["a"]]},
        {"names": ["a", "b"], "limbs": [3]},
        {"names": ["a", "b"], "pairs": 5},
        {"names": 5},
        {"names": "nose"},
    ],
)
def test_from_dict_rejects(values):
    with pytest.raises(ValueError):
        Skeleton.from_dict(values)


def test_from_toml(tmp_path):
    path = tmp_path / "mouse.toml"
    path.write_text(
        'names = ["nose", "left ear", "right ear"]\nlimbs = [["nose", "left ear"]]\n'
        'pairs = [["left ear", "right ear"]]\n',
        encoding="utf-8",
    )
    mouse = Skeleton.from_toml(path)
    assert mouse.name == "mouse"
    assert mouse.mirror == (0, 2, 1)
    assert mouse.limb_indices == ((0, 1),)


@pytest.mark.parametrize(
    "content",
    [
        b"names = [",
        b"\xff\xfe\x00",
        b'limbs = [["a", "b"]]',
        b'names = ["a", "a"]',
        b'names = ["a"]\nparts = 3',
        b'names = ["a", "b"]\npairs = [["a"]]',
        b"names = [1, 2]",
        b"",
    ],
    ids=["not TOML", "not text", "no names", "twice the same", "unknown key", "half a pair", "numbers", "empty"],
)
def test_from_toml_rejects_and_names_the_file(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.toml: "):
        Skeleton.from_toml(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("names = " + "[" * 20_000, "nested too deeply"), ("a" + ".a" * 100_000 + " = 1", "at most 32,768 bytes")],
    ids=["deep", "long"],
)
def test_from_toml_ends_soon(tmp_path, content, message):
    path = tmp_path / "hostile.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"hostile\.toml: .*{message}"):
        Skeleton.from_toml(path)


def test_from_toml_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        Skeleton.from_toml(tmp_path / "nowhere.toml")


def test_names_of_any_kind():
    names = ("nose (tip)", "хвост", "左耳", "右耳", "paw #2 [hind]", "cost $5", "a/b")
    assert Skeleton("any", names).names == names


def test_pairs_of_a_file_without_them(tmp_path):
    path = tmp_path / "mouse.toml"
    path.write_text('names = ["earL", "earR"]\n', encoding="utf-8")
    assert Skeleton.from_toml(path).pairs == (("earL", "earR"),)
    path.write_text('names = ["earL", "earR"]\npairs = []\n', encoding="utf-8")
    skeleton = Skeleton.from_toml(path)
    assert skeleton.pairs == () and skeleton.one_sided == ("earL", "earR")
    assert "off" in skeleton.mirroring and "earL, earR" in skeleton.mirroring
