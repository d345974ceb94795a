"""The text of model.c about memory and stages: where everything lies, and a function for each stage over time."""

import textwrap
from collections.abc import Mapping

from lrhnet_jax.deploy.c import layer_source, stages, text, weights
from lrhnet_jax.deploy.c.plan import Plan
from lrhnet_jax.deploy.c.stages import TILE, Stage
from lrhnet_jax.deploy.int8 import program as ints
from lrhnet_jax.deploy.int8.program import Program, Step


class ModelSource:
    """Writes model.c for a program and its plan."""

    def __init__(self, program: Program, plan: Plan):
        self.program = program
        self.plan = plan
        self.steps: Mapping[str, Step] = {step.name: step for step in program.steps}

    def layers(self) -> str:
        """Returns the constants of all layers."""
        return layer_source.layers(self.program, self.plan.packed)

    def places(self) -> str:
        """Returns where everything lies in the arena."""
        tensors, plan = self.program.tensors, self.plan
        lines, checks = [], []
        for name, offset in sorted(plan.tensors.items(), key=lambda item: item[1]):
            size = tensors[name].bytes
            lines.append(f"    {text.constant(name)} = {offset}, /* {tensors[name].rows} x {tensors[name].channels} */")
            checks.append((offset, size))
        for (stage, name), offset in sorted(plan.lines.items()):
            rows = plan.stages[stage].capacities[name]
            lines.append(
                f"    {self._line(stage, name)} = {offset}, /* {rows} rows x {tensors[name].channels}, stage {stage} */"
            )
            checks.append((offset, rows * tensors[name].row_bytes))
        sizes = weights.worth_packing(self.program) if plan.weights else {}
        for (stage, name), offset in sorted(plan.weights.items()):
            lines.append(f"    {self._weights(stage, name)} = {offset}, /* {sizes[name]} bytes, stage {stage} */")
            checks.append((offset, sizes[name]))
        vectors = [
            f"    {text.constant(name)} = {offset}, /* {tensors[name].channels} */"
            for name, offset in sorted(plan.vectors.items(), key=lambda item: item[1])
        ]
        most = max(offset + size for offset, size in checks)
        return "\n".join(
            [
                "/* Where tensors begin, in bytes; one may begin a little in front of what it replaces. */",
                "enum {",
                *lines,
                "};",
                "",
                "/* Where vectors begin, in values. */",
                "enum {",
                *vectors,
                "};",
                "",
                f"typedef char tensors_fit[{most} <= MODEL_TENSOR_BYTES ? 1 : -1];",
                "",
            ]
        )

    def _line(self, stage: int, name: str) -> str:
        return f"{text.name(name).upper()}_LINES_{stage}_AT"

    def _weights(self, stage: int, name: str) -> str:
        return f"{text.name(name).upper()}_WEIGHTS_{stage}_AT"

    def stages(self) -> str:
        """Returns a function for each stage over time."""
        return "\n".join(
            self._stage(index, stage) for index, stage in enumerate(self.plan.stages) if self._row_count(stage)
        )

    def calls(self) -> str:
        """Returns the statements that compute all stages."""
        lines = []
        for index, stage in enumerate(self.plan.stages):
            call = f"{_function(stage)}();" if self._row_count(stage) else self._vector(self.steps[stage.sinks[0]])
            lines += [f"PROFILE({index});", call]
        return "\n".join(lines)

    def _stage(self, index: int, stage: Stage) -> str:
        steps = [self.steps[name] for name in (*stage.members, *stage.sinks)]
        products = sum(self.program.multiplications(step) for step in steps)
        on_the_way = f", on the way {', '.join(stage.members)}" if stage.members else ""
        title = text.comment(f"Stage {index}: {', '.join(stage.sinks)}{on_the_way}; {products:,} products.")
        body = textwrap.indent(self._over_time(index, stage), "    ")
        return f"{title}static void {_function(stage)}(void)\n{{\n{body}}}\n"

    def _row_count(self, stage: Stage) -> int:
        step = self.steps[stage.sinks[0]]
        return self.program.tensors[step.x if stages.is_reduction(step) else step.name].rows

    def _vector(self, step: Step) -> str:
        x, y = (f"arena.vectors + {text.constant(name)}" for name in (step.x, step.name))
        if isinstance(step, ints.Linear) and step.kind == "dense":
            return f"dense(&{text.name(step.name)}_layer, {x}, {y});"
        assert isinstance(step, ints.Sigmoid)
        return f"gates(sigmoid_table, {x}, {y}, {self.program.tensors[step.name].channels});"

    def _over_time(self, index: int, stage: Stage) -> str:
        rows = self._row_count(stage)
        steps = [self.steps[name] for name in (*stage.members, *stage.sinks)]
        used = {name for step in steps for name in stages.reads(step)} | set(stage.sinks)
        lines, scratch = [], 0
        for name, tensor in self.program.tensors.items():
            if name in used and tensor.rows:
                at, end = text.constant(name), tensor.rows
                if name in stage.members:
                    at, end = self._line(index, name), 0
                kind = "rows" if name in stage.members else "const rows"
                lines.append(f"{kind} {_rows(name)} = {{arena.tensors.bytes + {at}, 0, {end}, {tensor.rows}}};")
        for step in steps:
            if step.name in self.plan.packed:
                own, place = text.name(step.name), self._weights(index, step.name)
                lines.append(
                    f"const linear_layer {own}_unpacked =\n    unpacked(&{own}_layer, arena.tensors.bytes + {place});"
                )
        multipliers, after = {}, []
        for step in steps:
            own = text.name(step.name)
            if isinstance(step, ints.Linear):
                multipliers[step.name] = f"{own}_layer.multiplier"
                if step.gate:
                    multipliers[step.name] = f"{own}_multipliers"
                    gate = f"arena.vectors + {text.constant(step.gate)}"
                    lines.append(
                        f"const int32_t *{own}_multipliers =\n"
                        f"    gated(&{own}_layer, {gate}, arena.scratch + {scratch});"
                    )
                    scratch += len(step.bias)
            elif stages.is_reduction(step):
                before, finish, count = self._reduction(step, f"arena.scratch + {scratch}")
                lines.append(before)
                after.append(finish)
                scratch += count
        lines.append(f"for (int32_t begin = 0, end; begin < {rows}; begin = end) {{")
        lines.append(f"    end = least(begin + {TILE}, {rows});")
        lines += [textwrap.indent(line, "    ") for line in self._turn(stage, steps, multipliers)]
        return "\n".join([*lines, "}", *after, ""])

    def _reduction(self, step: Step, scratch: str) -> tuple[str, str, int]:
        """Returns what prepares and what finishes a reduction, and the 32-bit values that it needs."""
        own, channels = text.name(step.name), self.program.tensors[step.x].channels
        y = f"arena.vectors + {text.constant(step.name)}"
        if isinstance(step, ints.Means):
            count = channels * (step.taps + 1 if step.taps > 1 else 1)
            before = f"int32_t *{own}_sums = filled({scratch}, {count}, 0);"
            return (
                before,
                f"finish_means({own}_sums, {channels}, {step.taps}, {step.multiplier}, {step.shift}, {y});",
                count,
            )
        assert isinstance(step, ints.Maximum)
        before = f"int32_t *{own}_largest = filled({scratch}, {channels}, INT16_MIN);"
        finish = (
            f"for (int32_t i = 0; i < {channels}; i++)\n"
            f"    ({y})[i] = rescale({own}_largest[i], {step.multiplier}, {step.shift});"
        )
        return before, finish, channels

    def _turn(self, stage: Stage, steps: list[Step], multipliers: Mapping[str, str]) -> list[str]:
        """Returns the statements that make the sinks' rows `begin` to `end`."""
        readers = {name: [step for step in steps if name in stages.reads(step)] for name in stage.members}

        def range_of(name: str) -> tuple[str, str]:
            return (f"{_rows(name)}.end", f"{text.name(name)}_end") if name in stage.members else ("begin", "end")

        lines = []
        for name in reversed(stage.members):
            total = self.program.tensors[name].rows
            needed = _nested("most", [_reach(step, name, range_of(step.name)[1], total) for step in readers[name]])
            lines.append(f"const int32_t {text.name(name)}_end = {needed};")
        for step in steps:
            name, own = step.name, _rows(step.name)
            begin, end = range_of(name)
            if name in stage.members:
                if stage.capacities[name] < self.program.tensors[name].rows:
                    firsts = [_first(reader, name, range_of(reader.name)[0]) for reader in readers[name]]
                    row_bytes = self.program.tensors[name].row_bytes
                    lines.append(f"forget(&{own}, {_nested('least', firsts)}, {row_bytes});")
                lines += [self._call(step, begin, end, multipliers), f"{own}.end = {end};"]
            else:
                lines.append(self._call(step, begin, end, multipliers))
        return lines

    def _call(self, step: Step, begin: str, end: str, multipliers: Mapping[str, str]) -> str:
        """Returns the call that computes a step's rows."""
        own, x, source = text.name(step.name), _rows(step.x), self.program.tensors[step.x]

        def row(name: str) -> str:
            return f"row_at(&{_rows(name)}, {begin}, {self.program.tensors[name].row_bytes})"

        match step:
            case ints.Linear():
                residual = row(step.residual) if step.residual else "NULL"
                function, seen = ("convolve", f"&{x}") if step.kind == "conv" else ("scale_rows", row(step.x))
                layer = f"{own}_unpacked" if step.name in self.plan.packed else f"{own}_layer"
                edge = [f"arena.scratch + {self.plan.edge_at}"] if step.kind == "conv" else []
                given = [f"&{layer}", multipliers[step.name], seen, residual, row(step.name), begin, end, *edge]
                return text.call(function, given, depth=8)
            case ints.MaxPool():
                shape = f"{source.channels}, {source.kind.upper()}, {step.window}, {step.stride}, {step.before}"
                return f"max_pool(&{x}, {shape}, {row(step.name)}, {begin}, {end});"
            case ints.Means():
                shape = f"{source.channels}, {source.kind.upper()}, {step.taps}, {step.before}, {step.count}"
                return f"add_rows({row(step.x)}, {shape}, {own}_sums, {begin}, {end});"
            case ints.Maximum():
                shape = f"{source.channels}, {source.kind.upper()}"
                return f"maximum_rows({row(step.x)}, {shape}, {own}_largest, {begin}, {end});"
        raise TypeError(f"no such operation over time: {step}")


def _function(stage: Stage) -> str:
    """The C function of a stage."""
    return "run_" + "_and_".join(map(text.name, stage.sinks))


def _rows(name: str) -> str:
    """The C variable of a tensor's rows."""
    return f"{text.name(name)}_rows"


def _nested(function: str, arguments: list[str]) -> str:
    first, *rest = arguments
    return f"{function}({first}, {_nested(function, rest)})" if rest else first


def _first(step: Step, name: str, begin: str) -> str:
    if not stages.slides(step, name):
        return begin
    stride, before = step.stride, step.before  # type: ignore[attr-defined]
    row = f"{begin} * {stride}" if stride > 1 else begin
    return f"{row} - {before}" if before else row


def _reach(step: Step, name: str, end: str, total: int) -> str:
    if not stages.slides(step, name):
        return f"least({end}, {total})"
    sizes = f"{step.stride}, {step.before}, {stages.window(step)}"  # type: ignore[attr-defined]
    return f"reach({end}, {sizes}, {total})"
