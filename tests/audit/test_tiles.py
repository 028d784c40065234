"""Tiles: a log cut into immutable files, under the names of C2SP tlog-tiles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import ProofError
from audit.merkle import leaf_hash, root_of
from audit.tiles import (
    TileCutter,
    TileName,
    bundle_path,
    bundles_of,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
    locate,
    parse_path,
    split_bundle,
    tile_path,
    tiles_of,
)

ENTRIES = st.lists(st.binary(max_size=50), max_size=20)


def test_names_are_those_of_the_specification() -> None:
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(2, 0, 1) == "tile/2/000.p/1"
    assert bundle_path(1_234_067, 112) == "tile/entries/x001/x234/067.p/112"


def test_a_tree_of_70000_has_the_tiles_of_the_specifications_example() -> None:
    names = list(tiles_of(70_000))
    level_0 = [name for name in names if name.level == 0]
    assert [name.width for name in level_0] == [256] * 273 + [112]
    assert [(name.level, name.index, name.width) for name in names if name.level] == [
        (1, 0, 256),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert [name.path for name in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert list(tiles_of(0)) == []


@given(st.none() | st.integers(0, 63), st.integers(0, 10**10), st.integers(1, 256))
def test_what_is_named_is_parsed_to_the_same_name(
    level: int | None, index: int, width: int
) -> None:
    name = TileName(level, index, width)
    assert parse_path(name.path) == name


@pytest.mark.parametrize(
    "path",
    [
        "checkpoint",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/../000",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/٠٠٠",
    ],
)
def test_a_second_spelling_of_a_name_is_refused(path: str) -> None:
    with pytest.raises(ProofError):
        parse_path(path)


@given(ENTRIES)
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


@given(ENTRIES.filter(bool), st.data())
def test_a_bundle_that_is_cut_short_is_refused_and_its_front_kept(
    entries: list[bytes], data
) -> None:
    content = encode_bundle(entries)
    start = len(content) - len(entries[-1]) - 2
    cut = content[: data.draw(st.integers(start + 1, len(content) - 1))]
    assert split_bundle(cut)[0] == entries[:-1]
    with pytest.raises(ProofError, match=f"entry {len(entries) - 1} "):
        decode_bundle(cut)


def test_an_entry_of_65536_bytes_fits_no_bundle() -> None:
    assert len(encode_bundle([bytes(65_535)])) == 65_537
    with pytest.raises(ProofError):
        encode_bundle([bytes(65_536)])


@pytest.mark.parametrize("length", [0, 31, 33, 257 * 32])
def test_what_is_no_tile_is_refused(length: int) -> None:
    with pytest.raises(ProofError):
        decode_tile(bytes(length))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([0, 1, 255, 256, 257, 511, 512, 700, 65_537]))
def test_the_cutter_makes_the_tiles_of_the_definition(size: int) -> None:
    leaves = [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]
    cutter = TileCutter()
    tiles = dict(pair for leaf in leaves for pair in cutter.append(leaf))
    tiles |= dict(cutter.partial_tiles())
    assert set(tiles) == set(tiles_of(size))
    assert (cutter.size, cutter.root()) == (size, root_of(leaves))
    for name, content in tiles.items():
        span = 256**name.level
        first = name.index * 256 * span
        hashes = [
            root_of(leaves[at : at + span]) for at in range(first, first + name.width * span, span)
        ]
        assert content == encode_tile(hashes)
        assert decode_tile(content) == hashes


@given(st.integers(0, 20), st.integers(0, 1000))
def test_a_subtree_is_located_in_the_tile_that_spans_it(level: int, index: int) -> None:
    tile_level, tile, first, count = locate(level, index)
    span = 256**tile_level
    assert (tile * 256 + first) * span == index << level
    assert count * span == 1 << level
    assert first + count <= 256


def test_bundles_cover_every_entry_once() -> None:
    assert [(name.index, name.width) for name in bundles_of(600)] == [(0, 256), (1, 256), (2, 88)]
    assert list(bundles_of(0)) == []
