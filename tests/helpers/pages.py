"""The documentation as tests read it: its pages, and the commands, code and links that they hold."""

import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("docs/*.md"))]
PROGRAMS = ("python", "python3", "lrhnet-jax", "make", "pip", "git", "srun", "gcloud", ".venv/bin/pre-commit")
_SETTING = re.compile(r"[A-Z_]+=\S+$")  # VARIABLE=VALUE before a command


class Command(NamedTuple):
    """A command of a page: its program and arguments, without the settings of the environment before it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"

    @property
    def module(self) -> tuple[str, list[str]] | None:
        """The module that `python -m` or lrhnet-jax runs, and its arguments; None if it is another program."""
        from lrhnet_jax import cli

        if self.words[0] == "lrhnet-jax":
            if len(self.words) == 1:
                return None
            module, _ = cli.COMMANDS.get(self.words[1], (f"lrhnet_jax.{self.words[1]}", ""))
            return module, list(self.words[2:])
        for i in range(len(self.words) - 2):
            if self.words[i] in ("python", "python3") and self.words[i + 1] == "-m":
                return self.words[i + 2], list(self.words[i + 3 :])
        return None


def name(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(page: pathlib.Path) -> list[str]:
    """Returns the Python code of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def prose(page: pathlib.Path) -> str:
    """Returns a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def inline(page: pathlib.Path) -> list[str]:
    """Returns what a page has between backticks, each in one line."""
    text = re.sub(r"^(    .*\n)+", "\n", prose(page), flags=re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def commands(page: pathlib.Path) -> Iterator[Command]:
    """Yields the commands of a page: of its indented blocks, and those between backticks."""
    blocks = re.findall(r"(?:^    .*\n)+", prose(page), re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *inline(page)]:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # not a command: an apostrophe, say
            continue
        words = [inner for word in words for inner in (shlex.split(word[10:]) if _remote(word) else [word])]
        while words and _SETTING.match(words[0]):
            del words[0]
        if not words or words[0] not in PROGRAMS:
            continue
        if "&&" in words:  # one after another
            place = words.index("&&")
            words = words[:place]
        yield Command(name(page), tuple(words))


def _remote(word: str) -> bool:
    """Whether it is gcloud's --command="...", which holds a command for other machines."""
    return word.startswith("--command=")


def links(page: pathlib.Path) -> list[str]:
    """Returns where a page's links and images lead, those to the web left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors(page: pathlib.Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
