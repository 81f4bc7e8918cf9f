"""What users write into files and the environment: JSON files, TAP_KLAVIYO_ variables and .env."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tap_klaviyo.errors import ConfigError, TapError
from tap_klaviyo.file_kinds import name_other_kind

PREFIX = "TAP_KLAVIYO_"
_DOTENV = Path(".env")
# Permissions that let other users of the machine read a file.
_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


def read_json(path: str, what: str, error: type[TapError]) -> Any:
    """Return the JSON value in a file.

    Args:
        path: the file.
        what: what the file is, for the sentence: "config", "catalog", "state".
        error: the exception to raise.

    Raises:
        TapError: of the type `error`, if the file is missing, unreadable or not JSON (with line and column), or has a
            name twice in an object, of which one value would be ignored.
    """
    return parse_json(read_text(path, what, error), path, what, error)


def read_text(path: str, what: str, error: type[TapError]) -> str:
    """Return the text of a file, without a byte order mark. The arguments are those of `read_json`.

    Raises:
        TapError: of the type `error`, if the file is missing, unreadable or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as problem:
        sentence = f"The {what} file {path} cannot be read: {problem.strerror or problem}."
    except UnicodeDecodeError:
        sentence = f"The {what} file {path} is not UTF-8 text."
    raise _problem_of_file(sentence, error)


def parse_json(text: str, path: str, what: str, error: type[TapError]) -> Any:
    """Return the JSON value in the text of a file; else as `read_json`."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as problem:
        several = " It holds more than one value; keep only the last line." if problem.msg == "Extra data" else ""
        place = f"line {problem.lineno}, column {problem.colno}"
        sentence = f"The {what} file {path} is not JSON: {problem.msg} at {place}.{several}"
    except _TwiceError as problem:
        sentence = f"The {what} file {path} has {problem} twice in the same object; remove one of them."
    except _ConstantError as problem:
        sentence = f"The {what} file {path} holds {problem}, which is not JSON."
    except (RecursionError, ValueError):
        sentence = f"The {what} file {path} is not valid JSON, or is nested too deeply."
    raise _problem_of_file(sentence, error)


def _problem_of_file(sentence: str, error: type[TapError]) -> TapError:
    return error(sentence) if error is not ConfigError else ConfigError([sentence])


class _ConstantError(ValueError):
    """NaN or Infinity, which JSON does not have."""


class _TwiceError(ValueError):
    """An object has the same name twice."""


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise _TwiceError(json.dumps(name))
        found[name] = value
    return found


def _refuse_constant(name: str) -> None:
    raise _ConstantError(name)


def read_config(paths: Sequence[str], known: Iterable[str]) -> dict[str, Any]:
    """Return the settings of the named files as one mapping; later files override earlier ones.

    Args:
        paths: the files; `ENV` means the environment and a file .env.
        known: the names of all settings, for the environment.

    Raises:
        ConfigError: a file is missing, not a JSON object, or a catalog or state.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        values = _read_environment(set(known)) if path == "ENV" else read_json(path, "config", ConfigError)
        if not isinstance(values, dict):
            raise ConfigError([f"The config file {path} holds {_kind_of(values)}, not a JSON object of settings."])
        if other := name_other_kind(values, "config"):
            raise ConfigError([f"The config file {path} {other}"])
        merged.update(values)
    return merged


def _kind_of(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _read_environment(known: set[str]) -> dict[str, Any]:
    """Return the settings in the environment and, overridden by those, in a file .env of the working directory.

    Raises:
        ConfigError: .env cannot be read, or one of its variables has two values or none.
    """
    found = {**_settings_in(_read_dotenv()), **_settings_in(os.environ)}
    # Programs around the tap, such as Meltano, set variables with the same prefix.
    return {name: value for name, value in found.items() if name in known or not name.startswith("_")}


def _settings_in(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return the values of the variables with our prefix, by the name of the setting, which may be in any case."""
    found: dict[str, str] = {}
    for variable, value in variables.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            if value is None:
                raise ConfigError([f"The file .env has {variable} without a value; write {variable}=value."])
            if found.setdefault(name, value) != value:
                raise ConfigError(
                    [f"{PREFIX}{name.upper()} is set twice, in upper and lower case; remove one of them."]
                )
    return found


def _read_dotenv() -> dict[str, str | None]:
    from dotenv import dotenv_values

    if not _DOTENV.exists():
        return {}
    try:
        # Read once: it may be a pipe that a manager of passwords fills.
        text = _DOTENV.read_text("utf-8-sig")
    except OSError as problem:
        raise ConfigError([f"The file .env cannot be read: {problem.strerror}."]) from None
    except UnicodeDecodeError:
        raise ConfigError(["The file .env is not UTF-8 text."]) from None
    found = dotenv_values(stream=io.StringIO(text))
    _refuse_doubled_variables(text)
    return found


def _refuse_doubled_variables(text: str) -> None:
    """Refuse a file .env that gives a variable of ours two values, as a JSON file that gives a name two is refused."""
    from dotenv.parser import parse_stream

    found: dict[str, str | None] = {}
    for each in parse_stream(io.StringIO(text)):
        if each.key and each.key.startswith(PREFIX) and found.setdefault(each.key, each.value) != each.value:
            raise ConfigError([f"The file .env sets {each.key} twice, to different values; remove one of them."])


def exposed_files(paths: Sequence[str]) -> list[Path]:
    """Return the files of `read_config` that other users of the machine can read."""
    files = [_DOTENV if path == "ENV" else Path(path) for path in paths]
    return [file for file in files if _is_exposed(file)]


def _is_exposed(file: Path) -> bool:
    try:
        return os.name == "posix" and file.is_file() and bool(file.stat().st_mode & _READABLE_BY_OTHERS)
    except OSError:
        return False
