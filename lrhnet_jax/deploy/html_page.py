"""The frame of the pages that answers are read on: one HTML file that runs no script and loads nothing."""

import base64
import html
import pathlib
from collections.abc import Sequence

from lrhnet_jax.deploy.model import NOT_A_DEVICE, SYNTHETIC
from lrhnet_jax.runtime.files import write_whole

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; color: #1a1a1a; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin-bottom: .3rem; }
.paper { overflow-x: auto; border: 1px solid #ccc; } .paper img { width: 100%; min-width: 50rem; display: block; }
.warning { background: #fff3cd; border-left: .3rem solid #c98a00; padding: .5rem .8rem; }
.decision { font-size: 1.15rem; font-weight: 600; }
"""


def page(name: str, said: str, notes: Sequence[str], above: str, below: str, style: str) -> str:
    """Returns an HTML page that needs no other file and no network.

    Args:
      name, said: the file, and what the model says of it, as plain text.
      notes: of the answer; those that warn of the model come before all else.
      above, below: HTML, before and after the notes on the recording.
      style: CSS of what these hold.
    """
    name, said = html.escape(name), html.escape(said)
    warnings = [note for note in notes if note in (SYNTHETIC, NOT_A_DEVICE)]
    warned = "".join(f'<p class="warning">{html.escape(note)}</p>\n' for note in warnings)
    others = [note for note in notes if note not in warnings]
    listed = "".join(f"<li>{html.escape(note)}</li>\n" for note in others) or "<li>nothing to note</li>\n"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{name}: {said}</title>
<style>{_STYLE}{style.lstrip()}</style>
</head>
<body>
<h1>{name}</h1>
{warned}<p class="decision">{said}</p>
{above}<h2>Notes on the recording</h2>
<ul>
{listed}</ul>
{below}</body>
</html>
"""


def image(png: bytes, what: str, region: str) -> str:
    """Returns HTML of a picture that scrolls sideways; `what` it shows and its `region` are for screen readers."""
    return f"""<div class="paper" tabindex="0" role="region" aria-label="{region}">
<img alt="{what}"
 src="data:image/png;base64,{base64.b64encode(png).decode()}">
</div>
"""


def write(path: pathlib.Path, png: bytes, text: str) -> None:
    """Writes a page and its picture beside `path`, which has no suffix: PATH.png and PATH.html."""
    write_whole(path.with_name(path.name + ".png"), lambda scratch: scratch.write_bytes(png))
    write_whole(path.with_name(path.name + ".html"), lambda scratch: scratch.write_text(text, encoding="utf-8"))
