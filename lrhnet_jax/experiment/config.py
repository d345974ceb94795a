"""An experiment's config: loaded from its file, and its fields set by flags, `--config.FIELD=VALUE`.

ml_collections reads a flag as the field's type has it. What is added here: a flag always takes effect, also where a
preset has given single networks a value of their own; a network can be given any training field; and a field that is
not there is answered by what to write.
"""

import copy
import dataclasses
import difflib
import importlib.util
import logging
import re
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from lrhnet_jax import losses
from lrhnet_jax.compress.search import Settings
from lrhnet_jax.ecg.leads import parse_leads
from lrhnet_jax.errors import ConfigError, UserError, check_fields, choose
from lrhnet_jax.experiment import graph
from lrhnet_jax.runtime import project

logger = logging.getLogger(__name__)

FLAG = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)
STRING_KEYS = ("leads", "preset")  # of the config string alone


def load(text: str) -> ConfigDict:
    """Returns the config that --config=FILE[:KEY=VALUE,...] or --config=NAME[:...] means.

    Raises:
      ConfigError: if there is no such file, or what it does fails.
    """
    path, string = project.find_config(text)
    try:
        spec = importlib.util.spec_from_file_location("config_file", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config() if string is None else module.get_config(string)
    except UserError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", 0)
        message = f"{path}, line {line}: {type(error).__name__}: {error}"
        if isinstance(error, ImportError) and (error.name or "").split(".")[0] == "configs":
            message += f" (`configs` is lrhnet_jax's package, {project.ROOT / 'configs'}; rename your own)"
        raise ConfigError(message) from error
    if not isinstance(config, ConfigDict) or "networks" not in config:
        raise ConfigError("the config names no networks; see configs/common.py")
    return config


def override(config: ConfigDict, arguments: Sequence[str]) -> list[str]:
    """Sets fields by flags and locks the config; returns the arguments that are not such flags.

    A flag of a training field, --config.train.FIELD, is set in all networks, also those that have a value of their own;
    one of a network, --config.networks.NAME.train.FIELD, comes after it and in that network alone.

    Raises:
      ConfigError: for a field that is not there, or a value that is not of its type.
    """
    given = list(_join(config, arguments))
    of_all = [a for a in given if not _path(a).startswith("networks")]
    rest = _apply(config, of_all)
    for argument in of_all:
        _pass_on(config, _path(argument))
    return rest + _apply(config, [_with_leads(a) for a in given if _path(a).startswith("networks")])


def _path(argument: str) -> str:
    """The field that a flag names, as "train.epochs"; empty: it is not such a flag."""
    matched = FLAG.fullmatch(argument)
    return matched[2] if matched else ""


def _join(config: ConfigDict, arguments: Sequence[str]) -> Iterator[str]:
    """Yields the arguments, with "--config.FIELD" "VALUE" as the one "--config.FIELD=VALUE"."""
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        matched = FLAG.fullmatch(argument)
        alone = matched is not None and not matched[1] and matched[3] is None
        switch = isinstance(_get(config, _path(argument).split(".")), bool)
        if alone and not switch and waiting and not waiting[0].startswith("--"):
            argument = f"{argument}={waiting.pop(0)}"
        yield argument


def _apply(config: ConfigDict, arguments: Sequence[str]) -> list[str]:
    """Sets the fields; returns the arguments that are not such flags."""
    for argument in arguments:
        _make_room(config, _path(argument))
    for argument in arguments:
        _set_method(config, argument)
    for argument in arguments:
        _check(config, _path(argument))
    values, argv = flags.FlagValues(), ["config", *arguments]
    values.set_gnu_getopt(True)
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        return values(argv, known_only=True)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from error


def _get(config: Any, path: Sequence[str]) -> Any:
    """The value at a path; None: it is not there (or None)."""
    for part in path:
        if not isinstance(config, ConfigDict) or part not in config:
            return None
        config = config[part]
    return config


def _pass_on(config: ConfigDict, path: str) -> None:
    """Sets a training field of the experiment also in the networks that have a value of their own."""
    start, *parts = path.split(".")
    if start != "train" or not parts:
        return
    value, replaced = _get(config.train, parts), []
    for name, network in config.networks.items():
        own = network.get("train", {})
        holder = _get(own, parts[:-1])
        if parts[0] not in own or not isinstance(holder, ConfigDict):
            continue
        replaced.append(f"{name} ({holder.get(parts[-1])})")
        with network.unlocked():
            if path == "train.method.name":  # the other fields are those of the method
                own.method = copy.deepcopy(config.train.method)
            else:
                holder[parts[-1]] = copy.deepcopy(value)
    if replaced:
        others = ", ".join(replaced)
        logger.info("config.%s=%s also applies to networks with a value of their own: %s", path, value, others)


def _with_leads(argument: str) -> str:
    """Leads may be written as in the config string, and with commas."""
    matched = FLAG.fullmatch(argument)
    if not matched or not re.fullmatch(r"networks\.[^.]+\.leads", matched[2]) or not re.match(r"\w", matched[3] or ""):
        return argument
    return f"--config.{matched[2]}={parse_leads(matched[3].replace(',', '+'))!r}"


def _make_room(config: ConfigDict, path: str) -> None:
    """Gives a network the field that is to be set, as it would be without: a training field is the experiment's."""
    start, *parts = path.split(".")
    if start != "networks" or len(parts) < 2 or parts[0] not in config.networks:
        return
    network = config.networks[parts[0]]
    if len(parts) == 2:
        defaults = {field.name: field.default for field in dataclasses.fields(graph.Network)}
        if isinstance(defaults.get(parts[1]), str | int):
            with network.unlocked():
                _fill(network, defaults, parts[1])
        return
    kind, field, *below = parts[1:]
    known: dict[str, Any] = {
        "train": config.train,
        "prune": ConfigDict(dataclasses.asdict(Settings())),
        "teachers": ConfigDict({name: config_dict.placeholder(float) for name in config.networks}),
        "options": ConfigDict({field: config_dict.placeholder(object)}),  # the network knows its own
    }
    if kind == "prune":
        check_fields(f"config.networks.{parts[0]}.prune", [field], known[kind])
    if field not in known.get(kind, ()):
        return
    with network.unlocked():
        if kind not in network:
            network[kind] = known[kind] if kind == "prune" else ConfigDict()
        _fill(network[kind], known[kind], field)
        # A schedule of the network's own may leave fields out; a method's fields belong to its name.
        if below and field != "method" and below[0] in known[kind][field]:
            _fill(network[kind][field], known[kind][field], below[0])


def _fill(own: ConfigDict, known: Any, field: str) -> None:
    if field not in own:
        empty = known[field] is None
        own[field] = config_dict.placeholder(known.get_type(field)) if empty else copy.deepcopy(known[field])


def _set_method(config: ConfigDict, argument: str) -> None:
    """Gives a distillation method that is set by its name the fields it has."""
    matched = FLAG.fullmatch(argument)
    if matched and matched[2].endswith("train.method.name"):
        choose(f"config.{matched[2]}", matched[3], ("none", *losses.METHODS))
        fields = {} if matched[3] == "none" else {"teacher": "", **losses.method_fields(matched[3])}
        train = _get(config, matched[2].split(".")[:-2])
        if train is not None and _get(train, ["method", "name"]) != matched[3]:
            with config.unlocked():
                train.method = ConfigDict({"name": matched[3], **fields})


def _check(config: ConfigDict, path: str) -> None:
    """Raises ConfigError for a field that is not there, or not to be set by a flag, with what to write instead."""
    if path == "preset":
        raise ConfigError("config.preset is a key of the config string: write --config=FILE.py:preset=VALUE")
    parts = path.split(".")
    if not path or "[" in path:  # not a flag of a field, or one that ml_collections finds by itself
        return
    node: Any = config
    for depth, part in enumerate(parts):
        if isinstance(node, ConfigDict) and part in node:
            node = node[part]
            continue
        raise ConfigError(_advice(config, parts[:depth], part))


def _advice(config: ConfigDict, place: Sequence[str], name: str) -> str:
    """Says that there is no such field, and what may have been meant."""
    node, where = _get(config, place), ".".join(["config", *place])
    message = f"{where if place else 'the config'} has no field {name!r}"
    of_networks = {field for network in config.networks.values() for field in network}
    if not isinstance(node, ConfigDict):
        return f"{message}: it is a single value, {node!r}"
    if list(place) == ["networks"] or place[2:] == ["teachers"]:
        return f"{where}: no network is called {name!r}; there are {', '.join(config.networks)}"
    if not place and name in STRING_KEYS:
        return f"{message}; {name} is a key of the config string: write --config=FILE.py:{name}=VALUE"
    if not place and name in of_networks:
        return f"{message}; it is one of a network: write --config.networks.NAME.{name}"
    if place and place[-1] == "method":
        return f"{message}; it has {', '.join(node)}. The method is set first: --{where}.name=METHOD"
    # A field of that name, or a similar one, elsewhere: of the network itself if there is, or of the experiment.
    in_network = place[0] == "networks" if place else False
    candidates = [list(_leaves(config))]
    if in_network:
        candidates.insert(0, [f"{'.'.join(place[:2])}.train.{field}" for field in _leaves(config.train)])
    for similar in (1.0, 0.6):
        for fields in ([f"{where[7:]}.{field}".lstrip(".") for field in node], *candidates):
            names = {field.split(".")[-1] for field in fields}
            if near := difflib.get_close_matches(name, names, 1, similar):
                meant = " or ".join(f"--config.{field}" for field in fields if field.split(".")[-1] == near[0])
                return f"{message}; write {meant}" if similar == 1 else f"{message}; did you mean {meant}?"
    return f"{message}; its fields are {', '.join(node)}"


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """The fields as "train.epochs", networks left out."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            if prefix or name != "networks":
                yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
