"""Images in Parquet files and behind URIs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.data.inputs import Broken, Picture, try_pictures
from i3ad_jax.data.sources import Cell, Reader, Row, Source, Uri, digest_of_sources, find_sources
from i3ad_jax.errors import InputError

fsspec = pytest.importorskip("fsspec", reason="pip install -e '.[ray]'")
pyarrow = pytest.importorskip("pyarrow", reason="pip install -e '.[ray]'")
parquet = pytest.importorskip("pyarrow.parquet")
Write = Callable[[Sequence[bytes | str | int | None], int], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a Parquet file with a column `image`, by groups of `group` rows."""

    def to_file(values: Sequence[bytes | str | int | None], group: int) -> Path:
        file = tmp_path / "table.parquet"
        parquet.write_table(pyarrow.table({"image": values}), file, row_group_size=group)
        return file

    return to_file


def contents(rows: Sequence[Source]) -> list[bytes]:
    found = list(Reader().opened(rows))
    assert all(isinstance(cell, Cell) for cell in found)
    return [cell.read_bytes() for cell in found]


@given(st.data())
def test_rows_are_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder, count = tmp_path_factory.mktemp("rows"), 150  # more than are read at once
    values = [bytes([number]) * 3 for number in range(count)]
    rows = []
    for name in ("a", "b"):
        group = data.draw(st.integers(1, 2 * count))
        parquet.write_table(
            pyarrow.table({"image": values}), folder / f"{name}.parquet", row_group_size=group
        )
        rows += find_sources([str(folder / f"{name}.parquet")], column="image").sources
    order = data.draw(st.lists(st.integers(0, 2 * count - 1), min_size=1, max_size=20))
    assert contents([rows[i] for i in order]) == [values[i % count] for i in order]


def test_going_on_reads_a_group_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []  # the first group of each reading

    class Counted(parquet.ParquetFile):
        def iter_batches(self, *args: Any, row_groups: Sequence[int], **kwargs: Any) -> Any:
            begun.append(row_groups[0])
            return super().iter_batches(*args, row_groups=row_groups, **kwargs)

    monkeypatch.setattr(parquet, "ParquetFile", Counted)
    values = [bytes([number]) for number in range(200)]
    rows = find_sources([str(write(values, 1000))], column="image").sources
    assert (
        contents([*rows[10:20], *rows[80:90], *rows[170:200]])
        == values[10:20] + values[80:90] + values[170:]
    )
    assert begun == [0]
    begun.clear()
    rows = find_sources([str(write(values, 20))], column="image").sources
    assert contents([rows[0], rows[19], rows[199]]) == [values[0], values[19], values[199]]
    assert begun == [0, 9]  # the groups between are not read


def test_images_of_rows_have_names_and_broken_ones_say_why(write: Write, tiny_folder: Path) -> None:
    picture = (tiny_folder / "test/spot/0.png").read_bytes()
    file = write([picture, None, b"no picture", picture], 3)
    images = Reader().opened(find_sources([str(file)], column="image").sources)
    (found,) = try_pictures(images, size=(32, 32), aspect="stretch", chunk=8)
    assert [each.name for each in found] == [f"{file}#{number}" for number in range(4)]
    assert [type(each) for each in found] == [Picture, Broken, Broken, Picture]
    problems = [each.problem for each in found if isinstance(each, Broken)]
    assert "the cell is empty" in problems[0]
    assert "not a PNG" in problems[1]


def test_a_damaged_group_costs_its_own_rows(write: Write) -> None:
    file = write([bytes([number]) * 5000 for number in range(200)], 100)
    column = parquet.ParquetFile(file).metadata.row_group(0).column(0)
    content = bytearray(file.read_bytes())
    first = column.dictionary_page_offset or column.data_page_offset
    content[first : first + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    file.write_bytes(content)
    rows = find_sources([str(file)], column="image").sources
    cells = list(Reader().opened([rows[0], rows[150], rows[1]]))
    assert [isinstance(cell, Cell) and cell.content is not None for cell in cells] == [
        False,
        True,
        False,
    ]


def test_a_column_of_paths_and_uris(write: Write, tmp_path: Path) -> None:
    file = write(["a.png", "sub/b.png", "s3://bucket/c.png", str(tmp_path / "d.png")], 10)
    assert find_sources([str(file)], column="image").sources == [
        tmp_path / "a.png",
        tmp_path / "sub/b.png",
        Uri("s3://bucket/c.png"),
        tmp_path / "d.png",
    ]


@pytest.fixture
def bucket(tiny_folder: Path) -> str:
    """A folder in fsspec's memory: images, another file and a Parquet file naming an image."""
    memory = fsspec.filesystem("memory")
    memory.rm("/bucket", recursive=True) if memory.exists("/bucket") else None
    for file in tiny_folder.glob("test/*/*.png"):
        memory.pipe(f"/bucket/{file.relative_to(tiny_folder)}", file.read_bytes())
    memory.pipe("/bucket/readme.txt", b"text")
    with memory.open("/bucket/table.parquet", "wb") as table:
        parquet.write_table(pyarrow.table({"image": ["test/good/0.png"]}), table)
    return "memory://bucket"


def test_uris_of_files_folders_and_tables(bucket: str, tiny_folder: Path) -> None:
    found = find_sources(
        [bucket, f"{bucket}/test/good/0.png", f"{bucket}/table.parquet"], column="image"
    ).sources
    files = sorted(tiny_folder.glob("test/*/*.png"))
    names = [str(file.relative_to(tiny_folder)) for file in files]
    assert [str(uri).partition("bucket/")[2] for uri in found] == [
        *names,
        "test/good/0.png",
        "test/good/0.png",
    ]
    expected = [file.read_bytes() for file in [*files, *[tiny_folder / "test/good/0.png"] * 2]]
    assert [source.read_bytes() for source in Reader().opened(found)] == expected
    (local,) = find_sources([files[0].absolute().as_uri()], column="image").sources
    assert isinstance(local, Uri)
    assert local.read_bytes() == files[0].read_bytes()


def test_the_digest_sees_another_table_and_another_column(write: Write) -> None:
    def digest(column: str) -> str:
        return digest_of_sources(Row(file, column, number) for number in range(2))

    file = write([b"a", b"b"], 10)
    before = digest("image")
    assert digest("image") == before
    assert digest("other") != before
    file.write_bytes(file.read_bytes() + b" ")
    assert digest("image") != before


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("damaged.parquet", "image", "damaged.parquet: cannot be read"),
        ("table.parquet", "picture", "--column picture: .*table.parquet has only image"),
        ("table.parquet", "image", "--column image: holds int64 in .*table.parquet"),
        ("none.parquet", "image", "none.parquet: no such file"),
        ("memory://nowhere/x.png", "image", "memory://nowhere/x.png: no such file"),
        ("nonsense://a/b.png", "image", "nonsense://a/b.png: cannot be opened .*nonsense"),
    ],
)
def test_sources_that_cannot_be_used(write: Write, name: str, column: str, message: str) -> None:
    folder = write([1, 2], 10).parent
    (folder / "damaged.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=message) as error:
        find_sources([name if "://" in name else str(folder / name)], column=column)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["reference://a.png::file:///ref.json", "simplecache::memory://a.png"]
)
def test_a_table_names_no_chain_of_uris(write: Write, name: str) -> None:
    file = write(["a::b.png", name], 10)  # the first is a file's name
    with pytest.raises(InputError, match="is a chain of URIs"):
        find_sources([str(file)], column="image")


def test_a_table_without_rows_or_with_an_empty_path(write: Write) -> None:
    file = write(["a.png", None], 10)
    with pytest.raises(InputError, match=r"row 1: image is empty"):
        find_sources([str(file)], column="image")
    parquet.write_table(pyarrow.table({"image": pyarrow.array([], pyarrow.binary())}), file)
    with pytest.raises(InputError, match="no images"):
        find_sources([str(file)], column="image")
