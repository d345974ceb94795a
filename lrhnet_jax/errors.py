"""The one kind of error that a user can mend, and how the command lines tell it: in one line, without a traceback."""

import argparse
import difflib
import errno
import functools
import pathlib
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

Value = TypeVar("Value")


class UserError(ValueError):
    """Bad input: a config, a path, a data set, a checkpoint. The message names it and the remedy."""


class ConfigError(UserError):
    """A config field, key or value that makes no sense."""


class DataError(UserError):
    """A data set that is missing, broken, or too small for what is asked."""


class CheckpointError(UserError):
    """A folder that does not hold the trained network that is asked for."""


class StorageError(UserError):
    """A file that cannot be written: the disk is full, or the folder read-only."""


def storage_error(error: OSError, path: object = None) -> StorageError:
    """Returns what to tell of a file that could not be written.

    Args:
      path: of the file; None: the one that `error` names.
    """
    path = pathlib.Path(str(path or error.filename or "a file"))
    folder = next((parent for parent in (path, *path.parents) if parent.is_dir()), pathlib.Path("."))
    try:
        free = f"; {shutil.disk_usage(folder).free / 1e6:,.0f} MB are free in {folder}"
    except OSError:
        free = ""
    return StorageError(
        f"{path}: cannot be written ({error.strerror or error}{free}); make room, or choose another folder; the same "
        "command then goes on from what is saved"
    )


_STORAGE_ERRNOS = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG}
_STORAGE = re.compile("No space left on device|Read-only file system|Permission denied|Disk quota exceeded")


def as_storage_error(error: Exception, path: object = None) -> StorageError | None:
    """Returns a StorageError for an error that has to do with where something is written; None for any other.

    Libraries that write by code of their own raise errors of many types, with the system's words in a long text.
    """
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS:
        return storage_error(error, path)
    reason = _STORAGE.search(str(error))
    return storage_error(OSError(reason[0]), path) if reason else None


def choose(
    field: str,
    value: Value,
    valid: Iterable[Value],
    *,
    noun: str = "value",
    advice: str = "choose",
    error: type[ValueError] = ConfigError,
) -> Value:
    """Returns `value` if it is one of `valid`.

    Args:
      field: what was set, as the user would write it, such as "config.dtype"; empty: the noun says enough.
      valid: what it may be.
      noun, advice: of the message.
      error: what is raised.

    Raises:
      ConfigError: or `error`: "FIELD: unknown value VALUE; choose A, B".
    """
    valid = tuple(valid)
    if value in valid:
        return value
    where = f"{field}: " if field else ""
    raise error(f"{where}unknown {noun} {value!r}; {advice} {', '.join(map(str, valid))}")


def check_fields(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ConfigError if a field of `where` is not one of `known`."""
    known = tuple(known)
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(f"{where}: unknown field {', '.join(unknown)}; the fields are {', '.join(known)}")


class Parser(argparse.ArgumentParser):
    """argparse for the command lines: flags are written out, and what is wrong with them is a UserError."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            self.refuse(rest[0])
        return options

    def refuse(self, argument: str) -> NoReturn:
        """Raises ConfigError for an argument that nothing takes, with the flag that may be meant."""
        if not argument.startswith("-"):
            self.error(f"unexpected argument {argument!r}; every setting is a --flag")
        flag = argument.split("=")[0]
        near = difflib.get_close_matches(flag, self._flags(), 1)
        self.error(f"unknown flag {flag}; " + (f"did you mean {near[0]}?" if near else "--help lists the flags"))

    def _flags(self) -> set[str]:
        """Its flags, and those of its sub-commands."""
        choices = [a.choices or {} for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        below = [parser for of_action in choices for parser in of_action.values()]
        return set(self._option_string_actions).union(*(parser._flags() for parser in below))

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def command(main: Callable[[Sequence[str]], int | None]) -> Callable[..., int]:
    """Makes a command line of a function of arguments: called without, it takes the process' own; returns its status.

    A UserError is printed in one line, and gives status 1.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(sys.argv[1:] if arguments is None else arguments) or 0
        except OSError as error:
            if (told := as_storage_error(error)) is None:
                raise
            print(f"error: {told}", file=sys.stderr)
            return 1
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run
