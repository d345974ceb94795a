"""What the experiments share: the strict parser of `--config=FILE.py:KEY=VALUE,...`, the presets, and the base config.

Keys:
  leads   a lead set by its size (12, 6, 3, 2, 1) or names joined by '+': what the student reads
  data    auto (the experiment's real set if it is built, else generated ECGs) | `tasks.choices`
  preset  paper (the default) | reference (what the reference code does, faults included) | demo (minutes on two cores)
  fold    0 to 4: the fold that is scored; all: every fold in turn

Every other field is set as --config.FIELD=VALUE.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, config_dict

from lrhnet_jax import losses, models, tasks
from lrhnet_jax.compress import search
from lrhnet_jax.ecg.leads import LEADS, LeadError, parse_leads
from lrhnet_jax.errors import ConfigError, choose

PRESETS = ("paper", "reference", "demo")
FOLDS = ("0", "1", "2", "3", "4", "all")


@dataclasses.dataclass(frozen=True)
class Options:
    """The keys of a config string, checked; `numbers` and `words` are those that one experiment alone has."""

    leads: tuple[str, ...]
    data: str
    preset: str
    fold: str
    datasets: tuple[str, ...] = ("physionet2020",)
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def parse(
    arg: str | None,
    leads: str | None = "2",
    dataset: str | Sequence[str] = "physionet2020",
    words: Mapping[str, Sequence[str]] | None = None,
    **numbers: int | float | type[int] | type[float],
) -> Options:
    """Reads a config string.

    Args:
      arg: "key=value,key=value", or None.
      leads: the experiment's default; None: it has no such key.
      dataset: the real set that the experiment is for, one of `tasks.DATASETS`; or several: `auto` is the first.
      words: keys that only this experiment has, each with its words; a value is some of them, joined by '+', and all
        by default. `Options.words` has them in the order given here.
      **numbers: keys that only this experiment has, numbers above zero, with their defaults; whole where those are
        whole. Where a type stands for the default the key may be left out, and is then None.

    Raises:
      ConfigError: for an unknown key or value, with the valid ones.
    """
    datasets, words = (dataset,) if isinstance(dataset, str) else tuple(dataset), words or {}
    values = {"leads": leads} if leads is not None else {}
    values |= {"data": "auto", "preset": "paper", "fold": "0"}
    values |= {key: "+".join(valid) for key, valid in words.items()}
    values |= {key: "" if isinstance(value, type) else str(value) for key, value in numbers.items()}
    for item in filter(None, (arg or "").split(",")):
        key, equals, value = item.partition("=")
        if key not in values or not equals:
            raise ConfigError(f"config string: {item!r} is not KEY=VALUE with a key among {', '.join(values)}")
        values[key] = value
    for key, valid in (("data", tasks.choices(datasets)), ("preset", PRESETS), ("fold", FOLDS)):
        choose("config string", values[key], valid, noun=key)
    given = {
        key: None if isinstance(default, type) and not values[key] else _positive(key, values[key], default)
        for key, default in numbers.items()
    }
    chosen = {key: _some(key, values[key], valid) for key, valid in words.items()}
    try:
        leads_read = () if leads is None else parse_leads(values["leads"])
    except LeadError as error:
        raise ConfigError(f"config string: leads={values['leads']}: {error}") from error
    return Options(leads_read, values["data"], values["preset"], values["fold"], datasets, given, chosen)


def _some(key: str, text: str, valid: Sequence[str]) -> tuple[str, ...]:
    named = text.split("+")
    unknown = [word for word in named if word not in valid]
    if unknown:
        raise ConfigError(
            f"config string: {key}={text}: unknown {', '.join(map(repr, unknown))}; join with '+' any of "
            f"{', '.join(valid)}"
        )
    return tuple(word for word in valid if word in named)


def _positive(key: str, text: str, default: int | float | type) -> int | float:
    whole = default is int or isinstance(default, int)
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"config string: {key}={text}: not {kind} above zero")
    return value


def network(
    model: str,
    leads: Sequence[str],
    teachers: Mapping[str, float] | None = None,
    checkpoint: str = "",
    options: Mapping[str, Any] | None = None,
    prune: Mapping[str, Any] | None = None,
    seed: int = 0,
    recipe: str = "",
    start: str = "",
    **train: Any,
) -> ConfigDict:
    """Returns a node of the graph; see `experiment.graph.Network`. Further arguments override `config.train`.

    Args:
      prune: from `pruning`; None: the network is not pruned.
    """
    pruned = {"prune": dict(prune)} if prune else {}
    return ConfigDict(
        {
            **pruned,
            "model": model,
            "leads": tuple(leads),
            "teachers": dict(teachers or {}),
            "checkpoint": checkpoint,
            "start": start,
            "options": dict(options or {}),
            "train": train,
            "seed": seed,
            "recipe": recipe,
        },
        convert_dict=True,
    )


def method(name: str, teacher: str = "", **changes: Any) -> dict[str, Any]:
    """Returns a distillation method, for `network(..., method=...)`, with the defaults of its fields.

    Args:
      name: one of `losses.METHODS`.
      teacher: whose features it reads; of an only teacher it can be left out.
      **changes: of its fields.
    """
    return {"name": name, "teacher": teacher, **losses.method_fields(name), **changes}


def pruning(**changes: Any) -> dict[str, Any]:
    """Returns how a network is pruned, for `network(..., prune=...)`: the defaults of `compress.search.Settings`."""
    return dataclasses.asdict(search.Settings()) | changes


def own_teacher(options: Options) -> str:
    """Returns the name of the multi-level teacher that reads the student's leads.

    Raises:
      ConfigError: on 12 leads, where both levels would be the same network.
    """
    if options.leads == LEADS:
        raise ConfigError("config string: leads=12 leaves no second level; use configs/vanilla_kd.py, or fewer leads")
    return f"teacher{len(options.leads)}"


def experiment(name: str, options: Options, networks: Mapping[str, ConfigDict]) -> ConfigDict:
    """Returns the config of an experiment: the paper's recipe, with what the preset changes."""
    config = ConfigDict(
        {
            "experiment": name,
            "preset": options.preset,
            "seed": 0,
            "fold": options.fold,
            # The data.
            "data": options.data,
            "datasets": options.datasets,  # the real sets that the experiment is for; "auto" is the first
            "data_dir": "data",
            # Of Challenge 2020: "paper"; "bandpass"; or "reference": its filter, and linear interpolation.
            "preprocess": tasks.choose(options.data, options.datasets).preprocess[0],
            "synthetic_records": 1000,  # generated once where the synthetic set is not built yet
            "window": 4096,  # samples, at the rate of the preprocessing: 257 Hz of "paper"
            # Samples lie on the "device", or "stream" from the host; "auto": on it, where they take half of it at most.
            "input": "auto",
            # Teachers: "precomputed" once on `windows_per_record` fixed windows a record, or "in_graph" in every step;
            # windows_per_record = 0 draws a fresh window every time, which only in_graph can do; and "record", where a
            # teacher answers once for a whole record, whatever window of it is drawn.
            "teacher_logits": "precomputed",
            "windows_per_record": 8,
            "dtype": "float32",  # of the computation; bfloat16 on accelerators
            "steps_per_dispatch": 0,  # 0: one on a CPU, a whole epoch on an accelerator
            # A batch is shared out over devices (0: all of this process) by "jit" over a mesh, or by "pmap".
            "parallel": "jit",
            "devices": 0,
            # At most so many compatible networks train at once, of all folds, on accelerators; 0: one at a time.
            "population": 0,
            "compilation_cache": "~/.cache/lrhnet_jax",  # empty: none
            "train": {
                "epochs": 90,
                "batch_size": 64,
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "weight_decay": 5e-4,  # coupled: an L2 term in the gradient
                "schedule": {
                    "name": "step",
                    "step_epochs": 20,
                    "milestones": (20, 40, 70),
                    "gamma": 0.1,
                    "warmup_epochs": 0,
                },
                "alpha": 0.3,  # weight of BCE beside the teachers' KL
                "kl_weight": config_dict.placeholder(float),  # of the teachers' KL; None: 1 - alpha
                "temperature": 7.0,
                "t_squared": False,
                "mean_logits": False,  # several teachers as one, by the mean of their logits; else a KL each
                # With teacher_logits = "record": so many copies of each teacher, each trained without a part of the
                # patients, answer for these; 0: the teachers themselves.
                "cross_fit": 0,
                "logit_kl": "softmax",  # over classes, as the paper has it; "sigmoid": each class on its own
                "method": {"name": "none"},  # what is learned beyond labels and logits: see `method`
                # What is done to windows before any network reads them; with teachers only in_graph.
                "augment": {"mixup": 0.0, "gain": 0.0, "lead_drop": 0.0, "wander": 0.0, "noise": 0.0, "shift": 0},
                "average": 0.0,  # decay of a moving average of the variables over steps, which is kept; 0: none
                "keep": "best",  # the epoch with the best validation score, `tasks.Task.epoch_metric`, or "last"
            },
            "evaluation": {
                # Or "reference": epoch and thresholds chosen on the fold that is scored; or "published": the split by
                # the data set's authors.
                "protocol": "leak_free",
                "validation_parts": 10,  # one part in ten of the training folds is held out
                "train_only": (),  # sources whose records train in every fold, and are never scored
                # Samples that a network sees at a time when it is scored and used; 0: as in training. Longer ones suit
                # what occurs now and then, as ectopic beats do.
                "window": 0,
                "windows": "cover",  # deterministic and averaged; "random": one random window a record
                # Which rule the headline uses; "threshold_or_top1" is reported beside it. Where classes exclude each
                # other, the most probable one is the decision.
                "decision": "threshold",
                # Towards one threshold for all classes, in pseudo-positives: guards rare classes against a small part.
                "threshold_shrinkage": 5.0,
                "also_reference": False,  # beside the leak-free score, one with thresholds fitted on the scored fold
                "resamples": 200,  # bootstrap, over patients
                "batch_size": 64,
            },
            "networks": {},
        }
    )
    config.networks = ConfigDict(dict(networks))
    if options.preset == "reference":
        _reference(config)
    elif options.preset == "demo":
        _demo(config)
    return config


def _reference(config: ConfigDict) -> None:
    if "reference" in tasks.choose(config.data, config.datasets).preprocess:
        config.preprocess = "reference"
    config.teacher_logits = "in_graph"
    config.windows_per_record = 0
    config.train.learning_rate = 3e-3
    config.train.weight_decay = 1e-5
    config.train.schedule.name = "multistep"
    config.evaluation.protocol = "reference"
    config.evaluation.windows = "random"
    config.evaluation.threshold_shrinkage = 0.0
    config.evaluation.decision = "threshold_or_top1"
    for fields in config.networks.values():
        fields.options = ConfigDict({**models.describe(fields.model).reference_options, **fields.options.to_dict()})


def _demo(config: ConfigDict) -> None:
    described = {name: models.describe(fields.model) for name, fields in config.networks.items()}
    config.synthetic_records = 600
    windows = (1024, 2560, 4096)  # the shortest one that all networks read
    config.window = next(window for window in windows if all(own.reads(window) for own in described.values()))
    config.windows_per_record = 4
    config.train.learning_rate = 3e-3
    config.train.batch_size = 32
    config.train.schedule.name = "cosine"
    for name, fields in config.networks.items():
        if "epochs" not in fields.train:
            fields.train.epochs = described[name].demo_epochs
