"""Parquet files with the same bytes for the same rows, and all of their rows or none.

Everything that shapes the bytes is stated here: codec and level, page format, row groups of one size whatever
chunks the rows came in, plain strings instead of dictionaries, no metadata. A file is written beside its
name, fsynced, renamed and its folder fsynced, so a reader never meets a half-written one.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.risk.disk import sync

ROW_GROUP = 65_536

# Stated in full, so that a changed default of the library cannot change a digest.
_FORMAT = {
    "version": "2.6", "data_page_version": "1.0", "compression": "zstd", "compression_level": 1,
    "write_statistics": True, "write_page_checksum": True,
}  # fmt: skip


def write_parquet(table: pa.Table, out: Path) -> None:
    """
    Write a table as one durable, deterministic file: all of it under its name, or nothing.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left behind then.
    """
    write_tables([table], table.schema, out)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
    """
    Write a stream of tables as one durable file; the bytes do not depend on where one table ends.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left behind then.
    """
    temporary = out.with_name(f"{out.name}.tmp")
    try:
        plain = plain_schema(schema)
        # Words repeat, measurements do not: a dictionary of floats costs time and saves nothing.
        words = [field.name for field in plain if pa.types.is_string(field.type)]
        with pq.ParquetWriter(temporary, plain, use_dictionary=words, **_FORMAT) as writer:
            for group in _groups(map(plain_table, tables)):
                writer.write_table(group, row_group_size=ROW_GROUP)
        sync(temporary)
        temporary.rename(out)
        sync(out.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema without metadata and with dictionaries and long strings turned into plain ones."""
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def plain_table(table: pa.Table) -> pa.Table:
    """Return the same rows under :func:`plain_schema`."""
    return table.cast(plain_schema(table.schema)).replace_schema_metadata(None)


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut a stream of tables into pieces of `ROW_GROUP` rows in one chunk each, wherever the tables end."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            piece = table.slice(start, ROW_GROUP - rows)
            held.append(piece)
            start += piece.num_rows
            rows += piece.num_rows
            if rows == ROW_GROUP:
                yield pa.concat_tables(held).combine_chunks()
                held, rows = [], 0
    if held:
        yield pa.concat_tables(held).combine_chunks()
