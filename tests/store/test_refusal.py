"""What is a record's fault for ever, and what passes."""

import sqlite3

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from store.refusal import is_refusal


def wrapped(orig, invalidated=False):
    return DBAPIError("INSERT", {}, orig, connection_invalidated=invalidated)


def sqlite_error(kind, code, said="so"):
    error = kind(said)
    error.sqlite_errorcode = code
    return wrapped(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such value"),
        OverflowError("too large to convert"),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_ERROR, "integer overflow"),
        sqlite_error(sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT_NOTNULL),
        sqlite_error(sqlite3.DataError, sqlite3.SQLITE_TOOBIG),
        wrapped(psycopg.errors.NumericValueOutOfRange("out of range")),
        wrapped(psycopg.errors.NotNullViolation("null")),
        wrapped(psycopg.errors.ProgramLimitExceeded("index row size")),
    ],
)
def test_the_same_record_would_be_refused_again(error):
    assert is_refusal(error)


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_ERROR, "no such table: decision"),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_BUSY_SNAPSHOT),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_LOCKED),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_FULL),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_IOERR),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_READONLY),
        sqlite_error(sqlite3.OperationalError, sqlite3.SQLITE_CANTOPEN),
        sqlite_error(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT),
        wrapped(psycopg.OperationalError("connection refused")),
        wrapped(psycopg.errors.AdminShutdown("going down")),
        wrapped(psycopg.errors.SerializationFailure("again")),
        wrapped(psycopg.errors.LockNotAvailable("locked")),
        wrapped(psycopg.errors.UndefinedTable("no table")),
        wrapped(psycopg.errors.UndefinedColumn("no column")),
        wrapped(psycopg.errors.DiskFull("full")),
        wrapped(psycopg.errors.ReadOnlySqlTransaction("standby")),
        wrapped(psycopg.errors.NumericValueOutOfRange("out of range"), invalidated=True),
        RuntimeError("a fault of ours"),
    ],
)
def test_it_may_pass(error):
    assert not is_refusal(error)
