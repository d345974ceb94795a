"""A page that a person can read of what a model answers for a recording: a picture, and HTML that contains it."""

import html
import io
import pathlib
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from lrhnet_jax.deploy import html_page
from lrhnet_jax.deploy.model import NOT_A_DEVICE, SYNTHETIC, UNFITTED, Answer, Model
from lrhnet_jax.deploy.saliency import Saliency, chosen, explain
from lrhnet_jax.ecg import squared_paper
from lrhnet_jax.ecg.files import printable
from lrhnet_jax.ecg.lead_names import available_leads, select_leads
from lrhnet_jax.ecg.recording import Recording
from lrhnet_jax.tasks import METRICS

DPI = 130
MOST_DRAWN = squared_paper.MOST_ROWS  # leads of a recording that has fewer than twelve
_WIDTH = 120  # characters of a line above the picture

_STYLE = """
table { border-collapse: collapse; width: 100%; } td, th { padding: .15rem .6rem .15rem 0; text-align: left; }
td.text { white-space: pre-line; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } tr.yes td { font-weight: 600; }
th { vertical-align: top; } td { vertical-align: bottom; } tr.yes td:first-child, tr.no td:first-child { width: 60%; }
.bar { position: relative; height: .5rem; background: #eee; }
.bar span { position: absolute; inset: 0 auto 0 0; background: #8fa9c9; } .yes .bar span { background: #1f4e8c; }
@media (max-width: 40rem) { table { font-size: .85rem; } td, th { padding-right: .35rem; } }
.bar i { position: absolute; top: -.1rem; bottom: -.1rem; border-left: 2px solid #b00020; }
"""


def person(recording: Recording) -> str:
    """Returns what is known of the patient, as in "56 years, female"; "age and sex unknown"."""
    age = "" if recording.age is None else f"{recording.age:.0f} years" if recording.age <= 120 else "over 89 years"
    sex = {"f": "female", "m": "male"}.get((recording.sex or "").strip().lower()[:1], "")
    return ", ".join(filter(None, (age, sex))) or "age and sex unknown"


def picture(model: Model, recording: Recording, answer: Answer, looked: Saliency | None = None) -> bytes:
    """Returns a PNG: the begin of the recording on squared paper, in blue the leads that the model reads.

    Args:
      looked: what the model looked at, which shades the paper.
    """
    leads = _drawn(model, recording)
    head = recording.signal[: round(squared_paper.MOST_ROWS * squared_paper.SECONDS * recording.rate)]
    signal, _ = select_leads(head, recording.leads, leads)
    seconds = len(recording.signal) / recording.rate
    shown = squared_paper.shown_seconds(leads, seconds)
    part = f"{seconds:.3g} s" if shown >= seconds - 0.1 else f"the first {shown:.3g} s of {seconds:,.0f} s"
    scale = f"{part}, 25 mm/s, 10 mm/mV   blue: read by {model.name}"
    lines = [
        *textwrap.wrap(f"{printable(recording.path.name)}   {person(recording)}   {scale}", _WIDTH),
        *textwrap.wrap(f"{model.name} says: {answer}", _WIDTH),
        *(textwrap.wrap(str(looked), _WIDTH) if looked else []),
        *([SYNTHETIC] if SYNTHETIC in answer.notes else []),
        NOT_A_DEVICE,
    ]
    shade = (looked.times, looked.shade) if looked else None
    figure = squared_paper.page(signal, recording.rate, leads, "\n".join(lines), marked=model.leads, shade=shade)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _drawn(model: Model, recording: Recording) -> tuple[str, ...]:
    """The leads on the paper: all twelve, or the model's, and others as long as there is room."""
    known = available_leads(recording.leads)
    others = [lead for lead in known if lead not in model.leads]
    return known if len(known) == 12 else (*model.leads, *others[: max(MOST_DRAWN - len(model.leads), 0)])


def document(model: Model, recording: Recording, answer: Answer, png: bytes, looked: Saliency | None = None) -> str:
    """Returns an HTML page that needs no other file and no network.

    Args:
      png: what `picture` returned.
      looked: what the model looked at.
    """
    seen = f"<p>{html.escape(str(looked))}</p>\n" if looked else ""
    rows = [(html.escape(name), html.escape(text)) for name, text in _facts(model, answer)]
    facts = "".join(f'<tr><th>{name}</th><td class="text">{text}</td></tr>\n' for name, text in rows)
    whose = html.escape(person(recording))
    paper = html_page.image(
        png,
        "The ECG on squared paper; the leads that the model reads are blue",
        "The ECG on squared paper, which scrolls sideways",
    )
    above = f"""<p>{whose}; {len(recording.signal) / recording.rate:,.4g} s at {recording.rate:g} Hz</p>
{paper}{seen}"""
    below = f"""<h2>Probabilities</h2>
<table>
<tr><th>class</th><th>probability</th><th>threshold</th><th>decision</th></tr>
{_rows(answer)}</table>
<h2>The model</h2>
<table>
{facts}</table>
"""
    return html_page.page(printable(recording.path.name), str(answer), answer.notes, above, below, _STYLE)


def _rows(answer: Answer) -> str:
    """The classes, those decided for first, then the most probable ones."""
    lines = []
    for i in np.lexsort((-answer.probabilities, ~answer.decisions)):
        value, positive = float(answer.probabilities[i]), bool(answer.decisions[i])
        mark, told = "", "-"
        if answer.thresholds is not None:
            limit = float(answer.thresholds[i])
            mark, told = f'<i style="left:{100 * min(max(limit, 0), 1):.1f}%"></i>', f"{limit:.3f}"
        bar = f'<div class="bar" aria-hidden="true"><span style="width:{100 * value:.1f}%"></span>{mark}</div>'
        lines.append(
            f'<tr class="{"yes" if positive else "no"}"><td>{html.escape(answer.names[i])}{bar}</td>'
            f'<td class="number">{value:.3f}</td><td class="number">{told}</td>'
            f"<td>{'yes' if positive else 'no'}</td></tr>\n"
        )
    return "".join(lines)


def _facts(model: Model, answer: Answer) -> list[tuple[str, str]]:
    """What the model is."""
    meta, rate = model.meta, model.options.rate
    if answer.thresholds is None:
        rule = "the most probable class"
    elif meta.get("thresholds") is None:
        rule = f"yes at or above {UNFITTED}: no thresholds were fitted to this network"
    else:
        rule = "yes at or above the class's threshold, fitted when the network was trained"
    return [
        ("name", model.name),
        ("architecture", f"{meta['model']}, {meta['parameters']:,} parameters"),
        ("task", f"{model.task.name}, {len(model.task.classes)} classes"),
        ("reads", f"leads {', '.join(model.leads)}; {meta['window'] / rate:.3g} s at a time, at {rate:g} Hz"),
        ("trained on", f"{meta['trained_on']}{' (generated ECGs)' if meta.get('synthetic') else ''}"),
        ("decides", rule),
        *_card(meta.get("card")),
    ]


def _card(card: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What a model's card says, of one that has a card; see docs/predict.md."""
    if not card:
        return []
    learned = [f"{part['source']} ({part['records']:,} records, {part['licence']})" for part in card["trained_on"]]
    measured = []
    for part in card["measured"]:
        figures = [f"{METRICS[key]} {_estimate(one)}" for key, one in part["metrics"].items() if key in METRICS]
        measured.append(f"{', '.join(figures)}; {part['records']:,} records: {part['on']}")
    rows = {"learned from": learned, "measured": measured, "not for": card["not_for"], "licence": [card["licence"]]}
    rows["attribution"] = card["attribution"]
    return [(name, "\n".join(texts)) for name, texts in rows.items() if texts]


def _estimate(one: Mapping[str, float | None]) -> str:
    value, low, high = ("?" if one[key] is None else f"{one[key]:.3f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def write(path: pathlib.Path, model: Model, recording: Recording, answer: Answer) -> None:
    """Writes the page beside `path`, which has no suffix: PATH.png and PATH.html."""
    shown = squared_paper.shown_seconds(_drawn(model, recording), len(recording.signal) / recording.rate)
    looked = explain(model, recording, chosen(answer), shown)
    png = picture(model, recording, answer, looked)
    html_page.write(path, png, document(model, recording, answer, png, looked))
