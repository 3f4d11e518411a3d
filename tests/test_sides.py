"""Left and right in the names of parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.sides import mirror_pairs, side_of, unpaired
from cpm_fast.skeleton import BUILT_IN

SPELLED = """
left_ear / right_ear, ear_left / ear_right, earL / earR, Left_ear / Right_ear, left ear / right ear, L_ear / R_ear,
l-ear / r-ear, LEar / REar, lEar / rEar, EarLeft / EarRight, ear.l / ear.r, ear (L) / ear (R), leftear / rightear,
earleft / earright, Ohr links / Ohr rechts, oreille_gauche / oreille_droite, paw_LF / paw_RF,
левый глаз / правый глаз, ucho_lewe / ucho_prawe, öra vänster / öra höger, Lt ear / Rt ear,
orelha_esquerda / orelha_direita, venstre_øre / højre_øre, linkeroor / rechteroor, 왼귀 / 오른귀, ala_sx / ala_dx,
left_paw_left_toe / right_paw_right_toe, ліва лапа / права лапа, lpaw / rpaw, pawl / pawr, EARL / EARR,
hind Lpaw / hind Rpaw, lknee1 / rknee1, pata_izq / pata_der, oreja izqda / oreja dcha, sol_el / sağ_el,
אוזן שמאל / אוזן ימין, HL / HR, fl / fr, L1 / R1, L / R, ear1_left / ear1_right, 左耳 / 右耳
"""
SPELLINGS = [tuple(pair.strip().split(" / ")) for pair in SPELLED.split(",")]


@pytest.mark.parametrize(("left", "right"), SPELLINGS)
def test_spellings(left, right):
    assert mirror_pairs(["nose", right, left, "tail"]) == ((left, right),)
    assert unpaired(["nose", right, left], [(left, right)]) == ()


@pytest.mark.parametrize("name", ["left_ear", "earR", "l-ear", "ear (L)", "paw1LH_top", "LeftEar", "rightear", "ear_r"])
def test_a_side_without_a_partner(name):
    assert mirror_pairs(["nose", name]) == ()
    assert unpaired(["nose", name], ()) == (name,)


@pytest.mark.parametrize("name", ["nose", "flank", "wheel", "L4", "bright", "upper_lip", "tail_base", "part_0"])
def test_no_side(name):
    assert side_of(name) is None and unpaired([name], ()) == ()


@pytest.mark.parametrize("name", ["left_paw_left_toe", "vänster_öra", "левое ухо", "lewe_ucho"])
def test_other_spellings_of_a_side_without_a_partner(name):
    assert unpaired(["nose", name], mirror_pairs(["nose", name])) == (name,)


@pytest.mark.parametrize("names", [("lip", "rip"), ("light", "right_light"), ("tail", "rail"), ("lpaw", "rear")])
def test_letters_that_are_no_sides(names):
    assert mirror_pairs(names) == ()


def test_a_part_between_left_and_right_is_no_side():
    names = ["left_ear", "right_ear", "left_right_middle"]
    assert unpaired(names, mirror_pairs(names)) == ()


def test_two_that_could_be_the_partner_are_no_pair():
    names = ["left_ear", "Left_ear", "right_ear"]
    assert mirror_pairs(names) == () and unpaired(names, ()) == tuple(names)


def test_numbered_legs_count_where_one_of_them_is_in_a_pair():
    names = ["L1", "R1", "L2"]
    assert mirror_pairs(names) == (("L1", "R1"),)
    assert unpaired(names, mirror_pairs(names)) == ("L2",)


@pytest.mark.parametrize("skeleton", BUILT_IN.values(), ids=lambda skeleton: skeleton.name)
def test_built_in_pairs_are_those_of_the_names(skeleton):
    assert set(mirror_pairs(skeleton.names)) == set(skeleton.pairs) and not skeleton.one_sided


@given(st.lists(st.text(max_size=12), unique=True, max_size=8))
def test_any_names(names):
    pairs = mirror_pairs(names)
    paired = [name for pair in pairs for name in pair]
    assert len(set(paired)) == len(paired) and set(paired) <= set(names)
    assert not set(unpaired(names, pairs)) & set(paired)
