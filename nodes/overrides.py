"""Overrides as a user types them: keys written in full, and one clear line about the one that is wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache

from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from alphatrade.risk.errors import ConfigError

CONFIG_MODULE = "alphatrade.conf"
CONFIG_NAME = "sim"
# A group override whose value is no text is a bare ValueError of Hydra's.
HYDRA_ERRORS = (HydraException, OmegaConfBaseException, ValueError)


@contextmanager
def beside() -> Iterator[None]:
    """Leave room for a composition beside the one that runs now, which Hydra finds again afterwards."""
    now = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = now


@contextmanager
def _configuration() -> Iterator[ConfigLoader]:
    """Open the configuration and give its loader."""
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def known_paths(overrides: Sequence[str] = (), name: str = CONFIG_NAME) -> list[str]:
    """
    Return the path of every node of the configuration that counts, dots between keys.

    Parameters
    ----------
    overrides : sequence of str
        Those among them that choose from a group are followed, as long as they can be.
    name : str
        Of the primary config.
    """
    with _configuration() as loader:
        return list(_known(_choices(overrides, loader), name)[0])


def completed(arguments: Sequence[str], name: str = CONFIG_NAME) -> list[str]:
    """
    Return a command line with every key written in full.

    Parameters
    ----------
    arguments : sequence of str
    name : str
        Of the primary config.

    Raises
    ------
    ConfigError
        If a short key is ambiguous, or the policy is overridden beside a genotype or a file that has all of it.
    """
    known = known_paths(arguments, name)
    full = [lengthen(argument, known) for argument in arguments]
    _refuse_both(full, "genotype.schema_version" in known)
    return full


def _refuse_both(overrides: Sequence[str], genotype: bool) -> None:
    """Refuse overrides of the policy beside the whole of it: a file, an entry, or a genotype that develops into it."""
    keys = {item.partition("=")[0].lstrip("+~"): item.partition("=")[2] for item in overrides}
    wholes = [key for key in ("policy_file", "policy_entry") if keys.get(key, "null") not in ("null", "")]
    if wholes and (genotype or len(wholes) > 1):
        beside = "a genotype" if genotype else wholes[0]
        raise ConfigError(wholes[-1], keys[wholes[-1]], f"none beside {beside}")
    if not genotype and not wholes:
        return
    for key, value in keys.items():
        if (key.startswith(("policy.", "policy/")) and "@genotype." not in key) or key == "policy":
            whole = "a genotype; its own parts are below genotype." if genotype else f"{wholes[0]}, which is all of it"
            raise ConfigError(key, value, f"none beside {whole}")


def _choices(overrides: Sequence[str], loader: ConfigLoader) -> tuple[str, ...]:
    """Return those among the overrides that choose from groups, or say where groups are."""
    keys = [*loader.list_groups(""), "hydra.searchpath"]
    return tuple(item for item in overrides if (key := item.partition("=")[0]) in keys or "/" in key)


def composed(full: Sequence[str], name: str = CONFIG_NAME) -> DictConfig:
    """
    Compose a configuration: what groups make of it once in a process, and the values into a copy of that.

    Parameters
    ----------
    full : sequence of str
        Overrides with every key written in full, see :func:`completed`.
    name : str
        Of the primary config.
    """
    with _configuration() as loader:
        choices = _choices(full, loader)
        values = [item for item in full if item not in choices]
        if not any(item[:1] in "+~" or "@" in item or item.startswith("hydra") for item in full):
            with suppress(*HYDRA_ERRORS):  # Hydra says it, below
                parser = OverridesParser.create()
                named = all(isinstance(one.value(), str) for one in parser.parse_overrides(list(choices)))
                parsed = parser.parse_overrides(values)
                # A group that is given values instead of a name chooses nothing: it counts in its turn.
                if named and not any(one.is_sweep_override() for one in parsed):
                    base, bad = _follow(choices, name)
                    if not bad:
                        config = deepcopy(base)
                        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
                        return config
        return compose(name, overrides=list(full))


@lru_cache(maxsize=64)
def _known(choices: tuple[str, ...], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths of a configuration and the choices that cannot be followed; a process asks the same often."""
    config, bad = _follow(choices, name)
    return tuple(_paths(config)), tuple(bad)


@lru_cache(maxsize=64)
def _follow(chosen: tuple[str, ...], name: str) -> tuple[DictConfig, list[str]]:
    """Compose with the choices from groups, and return those that cannot be followed as well."""
    with suppress(*HYDRA_ERRORS):
        return compose(name, overrides=list(chosen)), []
    # The whole command line will say so again, and then it is explained: the good choices are kept until then.
    config = compose(name)
    good: list[str] = []
    bad: list[str] = []
    for item in chosen:
        try:
            config = compose(name, overrides=[*good, item])
        except HYDRA_ERRORS:
            bad.append(item)
        else:
            good.append(item)
    return config, bad


def _paths(config: DictConfig) -> list[str]:
    found: list[str] = []

    def walk(node: DictConfig, prefix: str) -> None:
        for key in node:
            path = prefix + str(key)
            found.append(path)
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
                walk(child, f"{path}.")

    walk(config, "")
    developed = config.get("genotype") is not None
    return [path for path in found if not (developed and path.startswith("policy."))]


def lengthen(override: str, known: Sequence[str]) -> str:
    """
    Return an override with its key written in full, where the key is an unambiguous tail of one known path.

    Parameters
    ----------
    override : str
        For instance ``cadence.n=5``.
    known : sequence of str
        Every path of the configuration.

    Raises
    ------
    ConfigError
        If several paths end in the key.
    """
    key, equals, value = override.partition("=")
    if not equals or key[:1] in "+~-" or "/" in key or "@" in key or key in known:
        return override
    if key.partition(".")[0] in {path.partition(".")[0] for path in known} | {"hydra"}:
        return override
    tails = [path for path in known if path.endswith(f".{key}")]
    if len(tails) > 1:
        raise ConfigError(key, value, f"a longer key, one of {', '.join(tails)}")
    return f"{tails[0]}={value}" if tails else override


def explain(
    error: Exception, overrides: Sequence[str], sweep: bool = False, name: str = CONFIG_NAME
) -> ConfigError:
    """
    Return one clear line for an error of Hydra's or OmegaConf's own.

    Parameters
    ----------
    error : Exception
        Shown only where none of the overrides is found to be wrong.
    overrides : sequence of str
    sweep : bool, default False
        Several values are welcome.
    name : str
        Of the primary config.
    """
    with _configuration() as loader:
        known, refused = _known(_choices(overrides, loader), name)
        for item in overrides:
            if found := _syntax(item, sweep) or (_choice(item, loader) if item in refused else None):
                return found
        for item in overrides:  # only now: which keys there are depends on the choices
            if found := _key(item, known, loader):
                return found
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    text = "; ".join(dict.fromkeys(first_line(item) for item in chain))
    named = [item for item in overrides if item.partition("=")[0].lstrip("+~") in text]
    if not named:
        return ConfigError("configuration", text, "what Hydra can compose")
    blamed = max(named, key=lambda item: len(item.partition("=")[0]))
    return ConfigError("override", blamed, f"one that Hydra accepts ({text})")


def _syntax(item: str, sweep: bool) -> ConfigError | None:
    key, _, value = item.partition("=")
    try:
        several = OverridesParser.create().parse_override(item).is_sweep_override()
    except HydraException:
        expected = "key=value: no spaces around =, quotes and brackets closed, special characters in quotes"
        return ConfigError("override", item, expected)
    if not key.strip("+~"):
        return ConfigError("override", item, "key=value: the key is missing")
    return ConfigError(key, value, "one value; a list is written in brackets: [1,2]") if several and not sweep else None


def _choice(item: str, loader: ConfigLoader) -> ConfigError | None:
    """Return what is wrong with a choice from a group that cannot be followed; one of a sweep may still be right."""
    key, _, value = item.partition("=")
    if key[0] in "+~" or "@" in key:
        return None
    options = loader.get_group_options(key)
    if options:
        (parsed,) = OverridesParser.create(loader).parse_overrides([item])
        values = parsed.sweep_string_iterator() if parsed.is_discrete_sweep() else [value]
        return None if set(values) <= set(options) else ConfigError(key, value, f"one of {', '.join(options)}")
    if "/" not in key:
        return None
    groups = [name for name in loader.list_groups("") if name != "hydra"]
    groups += [f"{name}/{below}" for name in groups for below in loader.list_groups(name)]
    return ConfigError(key, value, f"a group, one of {', '.join(groups)}{_nearest(key, groups)}")


def _key(item: str, known: Sequence[str], loader: ConfigLoader) -> ConfigError | None:
    """Return what is wrong with a key that has to be there, naming those that could have been meant."""
    text, equals, value = item.partition("=")
    key = text.lstrip("~")
    if key[0] == "+" or key in known or "@" in key or "/" in key or key.partition(".")[0] == "hydra":
        return None
    parent, wrong = _parent(key, known)
    below = [path for path in known if path.rpartition(".")[0] == parent]
    given = value if equals else None
    if not below:
        return ConfigError(key, given, f"{parent}=<value>: nothing lies below it")
    names = [path.rpartition(".")[2] for path in below]
    # A short key may have been meant for any depth.
    hint = _nearest(f"{parent}.{wrong}".lstrip("."), below) or ("" if parent else _nearest(wrong, known))
    return ConfigError(key, given, f"a known key, one of {', '.join(names)}{hint or _elsewhere(key, loader)}")


def _parent(key: str, known: Sequence[str]) -> tuple[str, str]:
    """Return the longest known beginning of a key, written in full, and the part that follows it."""
    head, _, wrong = key.rpartition(".")
    while head:
        full = [head] if head in known else [path for path in known if path.endswith(f".{head}")]
        if len(full) == 1:
            return full[0], wrong
        head, _, wrong = head.rpartition(".")
    return "", wrong


def _elsewhere(key: str, loader: ConfigLoader) -> str:
    """Return which other choices of the group would have the key, as ``tape=file`` has ``tape.path``."""
    group = key.partition(".")[0]
    choices = [f"{group}={option}" for option in loader.get_group_options(group)]
    having = [choice for choice in choices if key in known_paths([choice])]
    return f" (it is there with {' or '.join(having)})" if having else ""


def _nearest(key: str, paths: Sequence[str]) -> str:
    """Return a question about the path whose last part is most like that of `key`, or nothing."""
    by_name = {path.rpartition(".")[2]: path for path in reversed(paths)}
    near = get_close_matches(key.rpartition(".")[2], by_name, 1, 0.7)
    return f" (did you mean {by_name[near[0]]}?)" if near else ""


def first_line(error: Exception) -> str:
    """Return the first non-empty line of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
