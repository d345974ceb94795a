"""A model's card: made out of what its run has measured, and printed for people. The schema: `training.card`.

Metrics are printed in percent, with 95 % intervals over patients.
"""

import dataclasses
import pathlib
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from lrhnet_jax import tasks
from lrhnet_jax.errors import CheckpointError
from lrhnet_jax.report.formats import columns, interval
from lrhnet_jax.runtime.files import read_json
from lrhnet_jax.scoring.schema import Score

LICENCE = "Apache-2.0, with the attribution below"
NOT_FOR = (
    "diagnosing, treating, triaging or monitoring anyone: this is not a medical device",
    "people or recordings unlike those it has learned from (children, pacemakers, exercise, other devices or places of "
    "the electrodes), unless it was measured on such ones first",
    "taking a 'no' for the absence of a disease, or a probability for a risk",
)
_WIDTH = 100
_OF_A_MACHINE = ("--config.compilation_cache", "--config.parallel", "--config.devices")
_CHALLENGE_2020 = (
    "E. A. Perez Alday et al.: Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020. "
    "Physiological Measurement 41:124003, 2021. https://doi.org/10.13026/dvyd-kd57. CC BY 4.0."
)
_PTB_XL = (
    "P. Wagner, N. Strodthoff, R.-D. Bousseljot, W. Samek, T. Schaeffter: PTB-XL, a large publicly available "
    "electrocardiography dataset. PhysioNet, 2022. https://doi.org/10.13026/kfzx-aw45. CC BY 4.0."
)
_CHALLENGE_2017 = (
    "G. D. Clifford et al.: AF classification from a short single lead ECG recording: the PhysioNet/Computing in "
    "Cardiology Challenge 2017. Recordings given by AliveCor. https://doi.org/10.13026/d3hm-sn11. ODC-By 1.0."
)


@dataclasses.dataclass(frozen=True)
class Source:
    """A published collection of recordings.

    Attributes:
      title: what people call it.
      licence: of the recordings.
      attribution: what has to be said of them.
      rates: lowest and highest, Hz.
      seconds: of its shortest and longest recording.
    """

    title: str
    licence: str
    attribution: tuple[str, ...]
    rates: tuple[float, float] = (500, 500)
    seconds: tuple[float, float] = (10, 10)


_BY = "CC BY 4.0"
SOURCES = {  # by the names of `Dataset.sources`
    "ptb-xl": Source("PTB-XL", _BY, (_PTB_XL, _CHALLENGE_2020)),
    "ptb-xl-filtered": Source("PTB-XL, band-passed", _BY, (_PTB_XL, _CHALLENGE_2020)),
    "cpsc_2018": Source("CPSC 2018", _BY, (_CHALLENGE_2020,), seconds=(6, 144)),
    "cpsc_2018_extra": Source("CPSC 2018, unused part", _BY, (_CHALLENGE_2020,), seconds=(8, 98)),
    "georgia": Source("Georgia 12-lead ECG Challenge", _BY, (_CHALLENGE_2020,), seconds=(5, 10)),
    "ptb": Source("PTB", _BY, (_CHALLENGE_2020,), rates=(1000, 1000), seconds=(32, 120)),
    "st_petersburg_incart": Source("INCART", _BY, (_CHALLENGE_2020,), rates=(257, 257), seconds=(1800, 1800)),
    "training2017": Source("Challenge 2017", "ODC-By 1.0", (_CHALLENGE_2017,), rates=(300, 300), seconds=(9, 61)),
}


def make(folder: pathlib.Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the card of a network of a finished run.

    Args:
      folder: WORKDIR/networks/NAME. Its evaluation.json, and WORKDIR/results.json, hold what was measured.
      meta: its description.

    Raises:
      CheckpointError: if nothing was measured of it, or a source of its data is not one of `SOURCES`.
    """
    folder = folder.absolute()
    scores, run = read_json(folder / "evaluation.json"), read_json(folder.parents[1] / "results.json")
    per_source = run["dataset"]["per_source"]
    if unknown := sorted(per_source.keys() - SOURCES.keys()):
        raise CheckpointError(f"{folder}: it has learned from {', '.join(unknown)}, whose licence is not known here")
    sources = {name: SOURCES[name] for name in per_source}
    task = tasks.TASKS[run["dataset"]["task"]]
    leads = f"lead {meta['leads'][0]}" if len(meta["leads"]) == 1 else f"leads {', '.join(meta['leads'])}"
    parts = _parts(run["config"], folder.name, task.exclusive)
    return {
        "title": f"{len(task.classes)} classes of {_title(task)} on {leads}",
        "trained_on": [
            {"source": source.title, "records": per_source[name], "licence": source.licence}
            for name, source in sources.items()
        ],
        "command": _command(run["command"]),
        "attribution": list(dict.fromkeys(text for source in sources.values() for text in source.attribution)),
        "licence": LICENCE,
        "seen": {
            "rates": _span([source.rates for source in sources.values()]),
            "seconds": _span([source.seconds for source in sources.values()]),
        },
        "measured": [_measured(scores[part], task, on) for part, on in parts.items()],
        "not_for": [*NOT_FOR, *_unmeasured(scores["test"], task)],
    }


def _parts(config: Mapping[str, Any], name: str, exclusive: bool) -> dict[str, str]:
    """Returns which parts of the data were scored, and what they are to the network `name`.

    Args:
      exclusive: its classes exclude each other, and have no thresholds.
    """
    evaluation, fold = config["evaluation"], config["fold"]
    keep = config["networks"][name]["train"].get("keep", config["train"]["keep"])
    unscored = ", ".join(SOURCES[source].title for source in evaluation["train_only"] if source in SOURCES)
    without = (
        f" ({unscored}: trains only, and of patients that are not all known: some may be these)" if unscored else ""
    )
    choices = ["epoch"] * (keep != "last") + ["thresholds"] * (not exclusive)
    chosen = f"its {' and '.join(choices)} were chosen" if choices else ""
    test = f"fold {fold} of the patients, which it has not learned from{without}"
    if evaluation["protocol"] == "leak_free":
        return {
            "test": test,
            "validation": f"by which {chosen}: too favourable" if chosen else "held out beside that fold",
        }
    biased = f"; {chosen} on these records: figures of decisions are too favourable"  # validation is the same part
    return {"test": test + (biased if chosen else "")}


def table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a line for each model: what it reads, what it tells, its main figures."""
    rows = [["model", "leads", "classes", "parameters", "main figures, percent"]]
    for name, meta in models.items():
        task = tasks.TASKS[meta["task"]]
        measured = (meta.get("card") or {}).get("measured") or [{"metrics": {}}]
        figures = [f"{tasks.METRICS[key]} {interval(**measured[0]['metrics'][key])}" for key in task.table
                   if key in measured[0]["metrics"]]  # fmt: skip
        leads = "all 12" if len(meta["leads"]) == 12 else ", ".join(meta["leads"])
        rows.append(
            [name, leads, f"{len(task.classes)} of {_title(task)}", f"{meta['parameters']:,}", "; ".join(figures)]
        )
    return "\n".join(columns(rows, left=3))


def text(name: str, meta: Mapping[str, Any]) -> str:
    """Returns a model's card as text of some eighty lines."""
    card, rate = meta.get("card"), meta["rate"]
    lines = [f"{name}: {card['title'] if card else 'a trained network without a card'}", ""]
    reads = f"{meta['window'] / rate:.3g} s of {', '.join(meta['leads'])} at {rate:g} Hz"
    lines += [f"network     {meta['model']}, {meta['parameters']:,} parameters", f"reads       {reads}"]
    lines += [f"decides     {meta.get('decision', '')}"]
    if card is None:
        return "\n".join(lines)
    seen = card["seen"]
    lines += [
        "data        "
        + "; ".join(f"{s['source']}: {s['records']:,} records ({s['licence']})" for s in card["trained_on"]),
        f"seen        recordings of {_from_to(seen['seconds'])} s at {_from_to(seen['rates'])} Hz",
        f"licence     {card['licence']}",
        f"trained by  {card['command']}",
    ]
    for part in card["measured"]:
        lines += ["", *textwrap.wrap(f"Measured on {part['records']:,} records of {part['patients']:,} patients, "
                                     f"{part['on']}", _WIDTH)]  # fmt: skip
        lines += [f"  {tasks.METRICS.get(key, key):18} {interval(**found)}" for key, found in part["metrics"].items()]
    lines += ["", "Class by class, on the first of these:", *_classes(card["measured"][0]["classes"])]
    for head, texts in (("Not for", card["not_for"]), ("Attribution", card["attribution"])):
        lines += ["", f"{head}:"]
        lines += [line for one in texts for line in textwrap.wrap(one, _WIDTH, initial_indent="- ",
                                                                  subsequent_indent="  ")]  # fmt: skip
    return "\n".join(lines)


def _command(given: str) -> str:
    """The command of a run without what belongs to a machine."""
    places = {"--config.data_dir": "DATA", "--workdir": "WORKDIR"}
    words = []
    for word in shlex.split(given):
        flag = word.partition("=")[0]
        if flag not in _OF_A_MACHINE:
            words.append(f"{flag}={places[flag]}" if flag in places else word)
    return shlex.join(words)


def _title(task: tasks.Task) -> str:
    """What people call the data set that a task is named after."""
    return next((dataset.title for dataset in tasks.DATASETS.values() if dataset.task is task), task.name)


def _measured(score: Score, task: tasks.Task, on: str) -> dict[str, Any]:
    figures = ("positives", "auroc", "average_precision", "f1", "threshold")
    classes = {
        code: {"name": task.description(code), **{key: row.get(key) for key in figures}}
        for code, row in score["per_class"].items()
    }
    return {
        "on": on,
        "records": score["records"],
        "patients": score["patients"],
        "metrics": {name: dict(found) for name, found in score["headline"].items()},
        "classes": classes,
    }


def _unmeasured(score: Score, task: tasks.Task, few: int = 10) -> list[str]:
    """What the figures do not cover."""
    rare = [task.description(code) for code, row in score["per_class"].items() if row["positives"] < few]
    return [f"classes of which fewer than {few} records were there to measure: {', '.join(rare)}"] if rare else []


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [["class", "records", "AUROC", "average precision", "F1", "threshold"]]
    for row in classes.values():
        values = [row[key] for key in ("auroc", "average_precision", "f1", "threshold")]
        rows.append([row["name"], str(row["positives"]), *("-" if v is None else f"{v:.3f}" for v in values)])
    return columns(rows, left=1)


def _span(spans: Sequence[tuple[float, float]]) -> list[float]:
    return [min(low for low, _ in spans), max(high for _, high in spans)]


def _from_to(span: Sequence[float]) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g} to {span[1]:g}"
