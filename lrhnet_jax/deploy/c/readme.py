"""What stands beside the C: model.json, for programs, and README.md, for the engineer who takes the folder."""

from typing import Any

from lrhnet_jax.deploy.c import text, weights
from lrhnet_jax.deploy.c.plan import Plan
from lrhnet_jax.deploy.c.stream_source import TEMPLATES
from lrhnet_jax.deploy.c.write import Meaning
from lrhnet_jax.deploy.int8 import prepare
from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program


def describe(program: Program, plan: Plan, meaning: Meaning) -> dict[str, Any]:
    """Returns what model.json holds, but the comparison with the network."""
    steps = [step for step in program.steps if isinstance(step, ints.Linear)]
    multiplications = sum(program.multiplications(step) for step in steps)
    return {
        "title": meaning.title,
        "window": program.window,
        "leads": list(meaning.leads),
        "rate": meaning.options.rate,
        "rates": sorted({*prepare.RATES, round(meaning.options.rate)}),
        "bandpass": meaning.options.bandpass,
        "classes": list(meaning.class_names),
        "thresholds": None if meaning.thresholds is None else list(meaning.thresholds),
        "arena_bytes": plan.arena_bytes,
        "window_bytes": program.tensors["signal"].bytes,
        "weight_bytes": sum(weights.stored_bytes(step, step.name in plan.packed) for step in steps),
        "sparse_layers": len(plan.packed),
        "multiplications": multiplications,
        "multiplications_computed": plan.multiplications,
        "stages": [
            {"makes": list(stage.sinks), "on_the_way": list(stage.members)}
            for stage in plan.stages
            if any(program.tensors[name].rows for name in (*stage.members, *stage.sinks)) or stage.members
        ],
    }


def readme(description: dict[str, Any], agreement: str) -> str:
    """Returns README.md.

    Args:
      description: what model.json holds.
      agreement: the comparison with the network, as Markdown.
    """
    again = description["multiplications_computed"] / description["multiplications"]
    report = description["agreement"]
    values = {
        "title": description["title"],
        "leads": ", ".join(description["leads"]),
        "rate": f"{description['rate']:g}",
        "seconds": f"{description['window'] / description['rate']:.1f}",
        "window": f"{description['window']:,}",
        "rates": ", ".join(map(str, description["rates"])),
        "filter": ", filters (0.5 to 40 Hz, forwards and backwards)" if description["bandpass"] == "monitor" else "",
        "arena": f"{description['arena_bytes']:,}",
        "input": f"{description['window_bytes']:,}",
        "weights": f"{description['weight_bytes']:,}",
        "sparse": " (sparse, a stage's are unpacked into the arena)" if description["sparse_layers"] else "",
        "products": f"{description['multiplications_computed'] / 1e6:.1f} million products a window",
        "again": "" if again == 1 else f", {again:.2f} times as many as with more memory (--arena)",
        "decision": "the most probable class" if description["thresholds"] is None else "classes above a threshold",
        "calibration": f"{report['windows']['calibrate']} windows of {report['records_of']}",
        "agreement": agreement,
    }
    return text.fill(TEMPLATES / "README.md", values)
