"""What a network says of itself, so that nothing else in the project has to know it by its name.

A network's class holds one `Description`. Modules are named by their paths among its parameters, joined by "/"; a
leading "*" stands for the path of any block: "*/bn1" is layer1_0/bn1, layer1_1/bn1 and so on, but not the network's
own bn1. What names several modules applies to every block that has all of them.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Path = tuple[str, ...]


class Fold(NamedTuple):
    """A BatchNorm whose factor a convolution can take, in a network that is only evaluated.

    Attributes:
      norm: the BatchNorm.
      conv: the convolution before it, which nothing else reads.
      reader: "": BatchNorm follows the convolution directly. Otherwise a ReLU lies between them, and this convolution,
        and nothing else, reads what BatchNorm returns: it takes the signs.
    """

    norm: str
    conv: str
    reader: str = ""


class Channels(NamedTuple):
    """Channels that can be pruned: one convolution writes them, one BatchNorm scales them, one convolution reads them.

    Attributes:
      writer, norm, reader: those three.
    """

    writer: str
    norm: str
    reader: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """A network, as far as others have to know it beside its call and its options.

    Attributes:
      stem: the first convolution; its inputs are the leads.
      head: the last dense layer; its outputs are the classes. It is never pruned.
      folds: the BatchNorms that convolutions can take.
      channels: those that can be pruned. The network then has an option `inner`: their number for each writer, in the
        order of the writers' names, where layer1_10 comes after layer1_9.
      torch_names: how its modules are called in PyTorch, where the rule of `torch_weights` gives another name: path ->
        name, for the module and all in it. None: the network has no counterpart in PyTorch.
      shortest_window, longest_window: the samples that it can read; None: any number from the shortest on.
      reference_options: the options with which it is what LRH-Net's reference code has, faults included.
      demo_epochs: of training in the preset "demo", which should take minutes on two cores.
    """

    stem: str = "conv1"
    head: str = "fc"
    folds: Sequence[Fold] = ()
    channels: Sequence[Channels] = ()
    torch_names: Mapping[str, str] | None = None
    shortest_window: int = 1
    longest_window: int | None = None
    reference_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    demo_epochs: int = 24

    def reads(self, window: int) -> bool:
        """Returns whether the network can read windows of that many samples."""
        return self.shortest_window <= window and (self.longest_window is None or window <= self.longest_window)


def find(params: Mapping[str, Any], names: Fold | Channels) -> list[tuple[Path, ...]]:
    """Returns the modules that `names` stands for in a network: their paths, once for every block that has them all.

    Args:
      params: the network's parameters, or their shapes.

    Returns:
      Tuples of as many paths as `names` gives, in the order of the blocks' names.
    """
    patterns = [name.split("/") for name in names if name]
    blocks = sorted(_modules(params), key=by_number) if any(first == "*" for first, *_ in patterns) else [()]
    matches = []
    for block in blocks:
        paths = tuple((*block, *rest) if first == "*" else (first, *rest) for first, *rest in patterns)
        if all(_has(params, path) for path in paths):
            matches.append(paths)
    return matches


def by_number(path: Sequence[str]) -> list[list[Any]]:
    """Returns what to sort modules' paths by, so that layer1_10 comes after layer1_9."""
    return [[int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)] for name in path]


def _modules(params: Mapping[str, Any], path: Path = ()) -> list[Path]:
    """The paths of all modules inside a network."""
    inside = [(*path, name) for name, module in params.items() if isinstance(module, Mapping)]
    return inside + [deeper for module in inside for deeper in _modules(params[module[-1]], module)]


def _has(params: Mapping[str, Any], path: Path) -> bool:
    for name in path:
        if not isinstance(params, Mapping) or name not in params:
            return False
        params = params[name]
    return True
