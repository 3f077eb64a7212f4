"""What is wrong with settings, in one line that a user of the command line understands."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.risk.errors import ConfigError

_LONGEST = 300  # characters of a value that is shown
_PLAIN = {
    "missing": "a value: this key is required",
    "tuple_type": "a list: [a, b]",
    "list_type": "a list: [a, b]",
    "path_type": "a path",
    "int_parsing_size": "a smaller number",
    "string_too_short": "a text that is not empty",
    "union_tag_not_found": "the key source",
}


def read_yaml(file: Path) -> Any:
    """
    Return what is in a file of settings that a command was given by ``--settings``.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError("--settings", str(file), f"a YAML file ({type(error).__name__})") from None


def checked[M: BaseModel](model: type[M], data: Any, root: str) -> M:
    """
    Validate `data`, turning the first problem into one clear line.

    Parameters
    ----------
    model : type of BaseModel
    data : object
        Plain values, as composed by Hydra.
    root : str
        Configuration path of `data`, put before the path of the problem.

    Raises
    ------
    ConfigError
        Naming the path, the value and what was expected.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise refusal(error, model, data, root) from None


def refusal(error: ValidationError, model: type[BaseModel], data: Any, root: str) -> ConfigError:
    """Return the first problem of `error` as one line; the arguments are those of :func:`checked`."""
    problems = error.errors()
    first = problems[0]
    place = _place(first, data)
    path = ".".join(part for part in (root, *map(str, place)) if part)
    value = first["input"] if first["type"] != "missing" else None
    # Each variant of a union has its own say about one value.
    expected = " or ".join(dict.fromkeys(_expected(p, path, model) for p in problems if _place(p, data) == place))
    return ConfigError(path, value if len(repr(value)) <= _LONGEST else "…", expected)


def _place(problem: ErrorDetails, data: Any) -> tuple[int | str, ...]:
    """Return where a problem lies in the data; pydantic's own words for variants of a union are no keys."""
    place: list[int | str] = []
    for part in problem["loc"]:
        inside = part in data if isinstance(data, Mapping) else isinstance(part, int) and isinstance(data, Sequence)
        if inside:
            data = data[part]
        if inside or (problem["type"] == "missing" and part == problem["loc"][-1]):
            place.append(part)
    return tuple(place)


def _expected(problem: ErrorDetails, path: str, model: type[BaseModel]) -> str:
    kind, given = problem["type"], problem["input"]
    if kind in {"dict_type", "model_type", "model_attributes_type"}:
        choice = path.replace(".", "/")
        grouped = isinstance(given, str) and files(CONFIG_MODULE).joinpath(choice).is_dir()
        hint = f"; a choice from a group is written {choice}={given}" if grouped else ""
        return f"keys below it, {path}.<key>=<value>{hint}"
    if kind == "extra_forbidden":
        return f"a known key{_neighbours(model, problem['loc'])}"
    if kind == "union_tag_invalid":
        return f"a source, one of {problem['ctx']['expected_tags']}".replace("'", "")
    if kind == "string_pattern_mismatch":
        return f"a text that matches {problem['ctx']['pattern']}"
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    # "a valid integer, unable to parse string as an integer": the value beside it says as much
    return _PLAIN.get(kind) or (text if kind == "value_error" else re.sub(", (unable|got) .*", "", text))


def _neighbours(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Return the keys that would have been accepted at `loc`, where they can be told."""
    here: Any = model
    for part in loc[:-1]:
        field = getattr(here, "model_fields", {}).get(part)
        if field is None:
            return ""
        here = field.annotation
    fields = getattr(here, "model_fields", None)
    return f", one of {', '.join(fields)}" if fields else ""
