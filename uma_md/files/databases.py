# SPDX-License-Identifier: MIT
"""ASE's databases in SQLite: read only, and only where they are plain tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ase import Atoms
from ase.db import connect


def iterate_database(path: Path) -> Iterator[Atoms]:
    """Give the structures of a database, in order of their rows.

    Charge and spin are not in it.

    Parameters
    ----------
    path
        A regular file.

    Raises
    ------
    ValueError, sqlite3.Error
        When it has views or triggers, which are programs, or is no such database.
    """
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"  # also its journals stay untouched
    with closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        kinds = {kind for (kind,) in connection.execute("SELECT type FROM sqlite_master")}
        if not kinds <= {"table", "index"}:
            raise ValueError(f"it has a {min(kinds - {'table', 'index'})}, which is a program")
        database = connect(str(path.absolute()), type="db", serial=True)
        database.connection, database.change_count = connection, 0  # as its 'with' does
        for row in database.select():
            yield row.toatoms()
