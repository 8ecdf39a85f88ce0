"""Names of the files that a prediction writes."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.data.sources import Row, Source, Uri
from i3ad_jax.predict.names import name_sources

SUFFIXES = (".jpg", ".npy", ".npz", ".png")
PARTS = st.sampled_from(
    ["001", "cam1", "Cam1", "é", "e\u0301", "..", ".12.x", "a.jpg", "A.JPG", "001-2", "b.npy.jpg"]
)
PATHS = st.builds(
    lambda parts, suffix: "/".join(parts) + suffix,
    st.lists(PARTS, min_size=1, max_size=4).filter(lambda parts: parts[-1] != ".."),
    st.sampled_from([".png", ".jpg", ".PNG", ""]),
)
SOURCES = st.one_of(
    PATHS.map(Path),
    PATHS.map(lambda path: Uri(f"s3://bucket/{path}")),
    PATHS.map(lambda path: Uri(f"memory://{path}")),
    st.builds(Row, PATHS.map(Path), st.just("image"), st.integers(0, 2)),
)


def named(*sources: Source | str, given: tuple[str, ...]) -> list[str]:
    places = [Path(source) if isinstance(source, str) else source for source in sources]
    return [image.name for image in name_sources(places, given=given)]


@given(st.lists(SOURCES, min_size=1, max_size=12), st.lists(PATHS, max_size=2))
def test_names_are_relative_and_no_two_files_are_one(
    sources: list[Source], given: list[str]
) -> None:
    images = name_sources(sources, given=given)
    assert [image.source for image in images] == sources
    names = [image.name for image in images]
    for name in names:
        assert os.path.normpath(name) == name
        assert not name.startswith("/")
        assert not any(part.startswith(".") for part in name.split("/"))
    for suffix in SUFFIXES:
        files = {f"{name}{suffix}".casefold() for name in names}
        assert len(files) == len(names)
        folders = {str(p) for file in files for p in PurePosixPath(file).parents}
        assert not files & folders


@pytest.mark.parametrize("folder", ["images", "./images/", "other/../images"])
def test_names_mirror_the_folder_that_was_given(folder: str) -> None:
    files = (f"{folder}/cam1/001.png", f"{folder}/cam1/002.png")
    assert named(*files, given=(folder,)) == ["cam1/001", "cam1/002"]
    assert named(*files, given=files) == ["001", "002"]
    assert named(*files, "more/7.tif", given=(folder, "more/7.tif")) == [
        "images/cam1/001",
        "images/cam1/002",
        "more/7",
    ]


def test_names_of_two_folders_are_relative_to_their_parent() -> None:
    files = [f"line/cam{number}/001.png" for number in (1, 2)]
    assert named(*files, given=("line/cam1", "line/cam2")) == ["cam1/001", "cam2/001"]


def test_names_of_rows_and_uris() -> None:
    rows = [Row(Path("tables/a.parquet"), "image", number) for number in range(2)]
    assert named(*rows, given=("tables/a.parquet",)) == ["a-0", "a-1"]
    uris = [Uri("s3://bucket/images/cam1/1.png"), Uri("s3://bucket/images/2.png")]
    assert named(*uris, given=("s3://bucket/images",)) == ["cam1/1", "2"]
    beside = ["tables/x/1.png", "2.png"]  # named by a table
    assert named(*beside, given=("tables/a.parquet",)) == ["tables/x/1", "2"]


def test_names_that_would_be_taken_differ() -> None:
    assert named("a/1.png", "a/1.JPG", "a/2.png", given=("a",)) == ["1.png", "1.JPG", "2"]
    assert named("a/1.png", "a/1.png", given=("a",)) == ["1", "1-2"]
    assert named("a/x.png", "a/X.png", given=("a",)) == ["x", "X-2"]
    assert named("a/1.png", "a/1.jpg/x.png", given=("a",)) == ["1-2", "1.jpg/x"]
    assert named("a/.12.png", given=("a",)) == ["_.12"]
