"""The text of ecg_stream.h and ecg_stream.c: how C prepares signals for a network, with the tables of its rates."""

import pathlib

from lrhnet_jax.deploy.c import text
from lrhnet_jax.deploy.int8 import prepare
from lrhnet_jax.ecg.preprocess import Preprocess

TEMPLATES = pathlib.Path(__file__).parent / "templates"


def stream_source(options: Preprocess, leads: int) -> dict[str, str]:
    """Returns the text of each file, by its name.

    Args:
      options: how the network's signals are prepared; `prepare.check` has passed them.
      leads: of the network.
    """
    target = round(options.rate)
    resamplers = [prepare.resampler(rate, target) for rate in sorted({target, *prepare.RATES})]
    history = max(how.history for how in resamplers) + 1  # one more may wait while a window is answered
    switches, tables, rows = [], [], []
    for how in resamplers:
        row = f"    {{{how.rate}, {how.up}, {how.down}, {how.half}, taps_{how.rate}}},\n"
        table = text.array(f"int16_t taps_{how.rate}", how.taps)
        if how.rate != target:
            switch = f"ECG_FROM_{how.rate}"
            switches.append(f"#ifndef {switch}\n#define {switch} 1\n#endif")
            row, table = (f"#if {switch}\n{part}#endif\n" for part in (row, table))
        rows.append(row)
        tables.append(table)
    values = {
        "switches": "\n".join(switches),
        "history": history,
        "bytes": 4 * (history * leads + leads) + 48,
        "tables": "\n".join(tables),
        "resamplers": "".join(rows),
        "filter": "",
        "call_filter": "",
    }
    if options.bandpass == "monitor":
        sections = prepare.monitor(target)
        lines = [f"    {{{', '.join(map(str, section))}}},\n" for section in sections.coefficients.tolist()]
        shape = {"sections": len(lines), "edge": sections.edge, "coefficients": "".join(lines)}
        values["filter"] = text.fill(TEMPLATES / "ecg_filter.c", shape)
        values["call_filter"] = "        filter_window(window + lead, rows);\n"
    return {name: text.fill(TEMPLATES / name, values) for name in ("ecg_stream.h", "ecg_stream.c")}
