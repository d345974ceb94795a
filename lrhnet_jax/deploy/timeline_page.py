"""A page that a person can read of the answers to a long recording: their course, episodes, and a window to look at."""

import html
import io
import pathlib

import numpy as np

from lrhnet_jax.deploy import html_page
from lrhnet_jax.deploy.model import NOT_A_DEVICE, SYNTHETIC, Model
from lrhnet_jax.deploy.timeline import JOIN, SHORTEST, Timeline, duration
from lrhnet_jax.ecg import squared_paper
from lrhnet_jax.ecg.files import printable

DPI = 130
ROWS = 8  # classes whose course is drawn
_LISTED = 200  # episodes on the page; the JSON has all

_STYLE = """
table { border-collapse: collapse; } td, th { padding: .15rem 1.2rem .15rem 0; text-align: left; }
td { font-variant-numeric: tabular-nums; }
"""


def write(path: pathlib.Path, model: Model, file: pathlib.Path, timeline: Timeline) -> None:
    """Writes the page beside `path`, which has no suffix: PATH.png and PATH.html."""
    png = course(model, file, timeline)
    html_page.write(path, png, document(model, file, timeline, png))


def course(model: Model, file: pathlib.Path, timeline: Timeline) -> bytes:
    """Returns a PNG: the probability of atrial fibrillation over time with its episodes, and those of other classes."""
    from matplotlib.figure import Figure  # late: answers have no need of it

    hours, span = timeline.seconds / 3600, max(timeline.starts[-1] + timeline.window, timeline.window)
    unit, name = (3600.0, "hours") if hours >= 2 else (60.0, "minutes")
    shown = _shown(timeline)
    figure = Figure(figsize=(11, 2.6 + 0.28 * len(shown)), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(5, 0.7 + 0.7 * len(shown)))
    edges = np.append(timeline.starts, span) / unit
    if timeline.watched:
        likely = timeline.probabilities[:, list(timeline.watched)].max(1)
        upper.stairs(likely, edges, color=squared_paper.MARKED, linewidth=0.8, baseline=None)
        upper.set_ylabel("probability of\natrial fibrillation")
        if timeline.thresholds is not None:
            upper.axhline(
                timeline.thresholds[list(timeline.watched)].min(), color="#b00020", linewidth=0.8, linestyle="--"
            )
        for episode in timeline.episodes:
            upper.axvspan(episode.start / unit, episode.end / unit, color="#b00020", alpha=0.15, linewidth=0)
    else:
        upper.stairs(timeline.answered, edges, color=squared_paper.MARKED)
        upper.set_ylabel("answered")
    upper.set_ylim(0, 1.02)
    image = np.ma.masked_invalid(timeline.probabilities[:, shown].T)
    lower.pcolormesh(edges, np.arange(len(shown) + 1), image, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    lower.set_facecolor("#dddddd")  # not answered
    lower.set_yticks(np.arange(len(shown)) + 0.5, [timeline.names[i] for i in shown], fontsize=8)
    lower.invert_yaxis()
    lower.set_xlabel(f"{name} from the begin; dark: probable; grey: not answered")
    lower.set_xlim(0, span / unit)
    warning = f"{SYNTHETIC}\n" if SYNTHETIC in timeline.notes else ""
    title = f"{printable(file.name)}   {model.name}: {timeline}\n{warning}{NOT_A_DEVICE}"
    figure.suptitle(title, fontsize=9, x=0.01, ha="left", parse_math=False, wrap=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def strip(model: Model, timeline: Timeline) -> bytes | None:
    """Returns a PNG of the window that was most like atrial fibrillation, on squared paper; None if there is none."""
    if not len(timeline.strip):
        return None
    title = (
        f"{duration(timeline.strip_start)} after the begin: the window most like atrial fibrillation, filtered as read"
    )
    signal = timeline.strip[: round(squared_paper.SECONDS * model.options.rate)]
    figure = squared_paper.page(signal, model.options.rate, model.leads, title, marked=model.leads)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def document(model: Model, file: pathlib.Path, timeline: Timeline, png: bytes) -> str:
    """Returns an HTML page that needs no other file and no network.

    Args:
      png: what `course` returned.
    """
    windows = f"{len(timeline.starts):,} windows of {timeline.window:.3g} s"
    length = f"{duration(timeline.seconds)} (hours, minutes, seconds), {windows}"
    looked = strip(model, timeline)
    paper = f"<h2>To look at</h2>\n{_image(looked, 'The window most like atrial fibrillation')}" if looked else ""
    above = f"<p>{length}</p>\n{_image(png, 'The course of the probabilities')}{_episodes(timeline)}{paper}"
    below = f"""<h2>Classes</h2>
<table>
<tr><th>class</th><th>of the windows</th><th>mean probability</th></tr>
{_classes(timeline)}</table>
<p>Answered by {html.escape(model.name)} ({html.escape(", ".join(model.leads))}), each window on its own.</p>
"""
    return html_page.page(printable(file.name), str(timeline), timeline.notes, above, below, _STYLE)


def _shown(timeline: Timeline) -> list[int]:
    """The classes to draw: those that episodes are made of, and the most frequent ones."""
    order = [int(i) for i in timeline.shares.argsort()[::-1] if i not in timeline.watched]
    return [*timeline.watched, *order][:ROWS]


def _image(png: bytes, what: str) -> str:
    return html_page.image(png, what, f"{what}, which scrolls sideways")


def _episodes(timeline: Timeline) -> str:
    if not timeline.watched:
        return ""
    rows = "".join(
        f"<tr><td>{duration(one.start)}</td><td>{duration(one.end)}</td><td>{duration(one.end - one.start)}</td>"
        f"<td>{one.probability:.2f}</td></tr>\n"
        for one in timeline.episodes[:_LISTED]
    )
    more = f"<p>and {len(timeline.episodes) - _LISTED} more</p>" if len(timeline.episodes) > _LISTED else ""
    table = f"<table>\n<tr><th>from</th><th>to</th><th>lasts</th><th>mean probability</th></tr>\n{rows}</table>{more}"
    rule = (
        "Windows in which it is decided, and more probable than sinus rhythm. An episode lasts "
        f"{SHORTEST:g} s or longer; interruptions of up to {JOIN:g} s do not end it."
    )
    return f"<h2>Episodes of atrial fibrillation</h2>\n<p>{rule}</p>\n{table if timeline.episodes else '<p>none</p>'}\n"


def _classes(timeline: Timeline) -> str:
    return "".join(
        f"<tr><td>{html.escape(timeline.names[i])}</td><td>{100 * timeline.shares[i]:.1f} %</td>"
        f"<td>{timeline.means[i]:.3f}</td></tr>\n"
        for i in timeline.shares.argsort()[::-1]
    )
