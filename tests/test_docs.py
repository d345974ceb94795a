"""README and docs/ are true: links lead somewhere, names exist, and commands and Python code run.

What is substituted, since a test has neither recordings nor hours:

- RAW, PTBXL, DIR   a small generated archive in PhysioNet's layout; `ptbxl_database.csv` is its table
- --workers, --records   1 worker; 8 records of a generated set
- `lrhnet-jax train`   is parsed to the end: the config loads, every flag is a field, and the graph is checked. One of
                       them trains (slow), shrunk: the preset `demo`, one epoch, LRH-Nets as teachers
- benchmarks           their flags are parsed; tests/benchmarks runs them
- the checkpoint of evaluate and export   a network with random weights (but for the one that is trained)
- HOST:PORT and other processes   are not waited for
- make, pip            the target and the extra exist. git, venv, pre-commit, srun and gcloud are not run

The code of docs/deploy.md, docs/methods.md and docs/predict.md is run by the tests named in `RUN_ELSEWHERE`.
"""

import argparse
import contextlib
import importlib
import importlib.util
import pathlib
import re
import shutil
import tomllib

import pytest
from ml_collections import ConfigDict

from data_builders import synthetic
from lrhnet_jax import errors
from lrhnet_jax.experiment import config as configuration
from lrhnet_jax.experiment import graph
from tests.helpers import fakes, pages
from tests.helpers.pages import PAGES, ROOT

README = ROOT / "README.md"
RUN_ELSEWHERE = {
    "docs/deploy.md": "tests/commands/test_export.py",
    "docs/methods.md": "tests/losses/test_methods.py",
    "docs/predict.md": "tests/commands/test_predict.py",
}
NOT_RUN = ("git", "gcloud", "srun", ".venv/bin/pre-commit")
ROOMS = "errors|kernels|runtime|ecg|tasks|models|losses|data|training|scoring|compress|deploy|report|experiment"
COMMANDS = list(dict.fromkeys(command for page in PAGES for command in pages.commands(page)))


def of_module(*modules):
    """The commands with arguments that run one of the modules; a name alone is no command to run."""
    return [c for c in COMMANDS if c.module and c.module[1] and c.module[0] in modules]


TRAININGS = of_module("lrhnet_jax.main")
BUILDS = of_module("data_builders.build")
MEASUREMENTS = [c for c in COMMANDS if c.module and c.module[1] and c.module[0].startswith("benchmarks.")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, but for the config that docs/graphs.md writes."""
    (tmp_path / "configs").mkdir()
    (code,) = pages.snippets(ROOT / "docs/graphs.md")
    (tmp_path / "configs/chest.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=pages.name)
def test_links_lead_somewhere(page):
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in pages.anchors(target), link


def test_every_page_is_in_the_index():
    index = set(pages.links(ROOT / "docs/README.md"))
    assert {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"} <= index


@pytest.mark.parametrize("page", PAGES, ids=pages.name)
def test_files_and_names_exist(page):
    tops = "lrhnet_jax|configs|data_builders|docs|tests|benchmarks"
    for code in pages.inline(page):
        if re.fullmatch(rf"(?:{tops})/[\w./-]*", code) and code != "configs/chest.py":
            assert (ROOT / code).exists(), code
        is_file = code.endswith((".json", ".md", ".csv"))
        if re.fullmatch(rf"(?:lrhnet_jax\.)?(?:{ROOMS})\.\w[\w.]*", code) and not is_file:
            resolve(code.removeprefix("lrhnet_jax."))


def resolve(dotted):
    """Returns what a dotted name below lrhnet_jax means, a module or a name in one."""
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        name = ".".join(["lrhnet_jax", *parts[:split]])
        with contextlib.suppress(ModuleNotFoundError):
            value = importlib.import_module(name)
            for part in parts[split:]:
                value = getattr(value, part)
            return value
    raise AssertionError(f"lrhnet_jax.{dotted} does not exist")


@pytest.mark.parametrize("page", PAGES, ids=pages.name)
def test_config_fields_exist(page, folder):
    """Fields as `config.train.alpha`, and flags as `--config.train.epochs=30`, of any of four configs."""
    configs = [configuration.load(name) for name in ("pmlkd", "mvkt", "lth", "fitnet", "configs/chest.py")]
    for code in pages.inline(page):
        code = re.sub(r"\.NAME\b", ".student", code)
        if re.fullmatch(r"(?:--)?config\.[a-z_][a-z_.]*[a-z]", code):
            path = code.removeprefix("--").split(".")[1:]
            assert any(has(config, path) for config in configs), code
        elif code.startswith("--config.") and "FIELD" not in code:
            flags = re.sub(r"\bPATH\b", "folder", re.sub(r"=N\b", "=2", code)).split()
            assert any(takes(config.copy_and_resolve_references(), flags) for config in configs), code


def has(config, path):
    for part in path:
        if not isinstance(config, ConfigDict) or part not in config:
            return False
        config = config[part]
    return True


def takes(config, flags):
    try:
        return not configuration.override(config, flags)
    except errors.UserError:
        return False


@pytest.mark.parametrize("page", [p for p in PAGES if pages.name(p) not in RUN_ELSEWHERE], ids=pages.name)
def test_python_code_runs(page, folder):
    names = {}
    for code in pages.snippets(page):
        exec(compile(code, pages.name(page), "exec"), names)
    if page == README:
        assert names["output"].logits.shape == (1, 24) and float(names["loss"]) > 0
        assert names["answer"].probabilities.shape == (24,) and "atrial fibrillation" in str(names["answer"])


def test_the_other_pages_code_is_run_elsewhere():
    for page, module in RUN_ELSEWHERE.items():
        assert pathlib.Path(page).name in (ROOT / module).read_text()
        assert pages.snippets(ROOT / page)


def test_commands_are_found_and_none_is_left_over():
    assert len(TRAININGS) > 20 and len(BUILDS) > 8 and len(MEASUREMENTS) > 12
    targets, written = (
        set(re.findall(r"^([\w-]+):", (ROOT / folder / "Makefile").read_text(), re.MULTILINE))
        for folder in (".", "lrhnet_jax/deploy/c/sources")
    )
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for command in COMMANDS:
        program, *rest = command.words
        if program == "make":
            exported = rest[0] == "-C"  # make -C OUT/c TARGET [VARIABLE=VALUE]
            named = {word for word in rest[2 if exported else 0 :] if "=" not in word}
            assert named <= (written if exported else targets), command
        elif program == "pip":
            assert set(re.findall(r"\[(\w+)\]", " ".join(rest))) <= set(extras), command
            assert "lrhnet-jax" not in " ".join(rest), f"{command}: the package is on no index"
        elif command.module:
            assert command.module[0] == "venv" or importlib.util.find_spec(command.module[0]), command
        else:
            assert program in NOT_RUN or command.words == ("lrhnet-jax",), command


def run(command, capsys, changes=()):
    """Runs a command in this process; returns what it printed."""
    module, arguments = command.module
    status = importlib.import_module(module).main([*arguments, *changes])
    printed = capsys.readouterr()
    assert status == 0, f"{command}: {printed.err}"
    return printed.out


@pytest.mark.parametrize("command", TRAININGS, ids=str)
def test_trainings_are_valid(command, folder, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("lrhnet_jax.experiment.run.run", lambda config, workdir: seen.append(config) or "")
    monkeypatch.setattr("lrhnet_jax.runtime.processes.join", lambda *arguments: None)
    monkeypatch.setattr("lrhnet_jax.runtime.host.keep_freed_memory", lambda: None)
    module, arguments = command.module
    arguments = ["--process_id=0" if a == "--process_id=I" else a.replace("=N", "=2") for a in arguments]
    if not any(a.startswith("--config=") for a in arguments):
        assert pages.name(ROOT / command.page) and "--distributed=auto" in arguments
        return
    run(pages.Command(command.page, ("python", "-m", module, *arguments)), capsys)
    (config,) = seen
    assert graph.parse(config.networks.to_dict(), config.train.to_dict())


class Parsed(Exception):
    """The flags were read, and nothing was done."""


@pytest.mark.parametrize("command", MEASUREMENTS, ids=str)
def test_flags_of_benchmarks_exist(command, monkeypatch):
    name, arguments = command.module
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    parse = argparse.ArgumentParser.parse_args

    def parse_alone(self, *given):
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
    with pytest.raises(Parsed):
        module.main(arguments)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """RAW of the sets of twelve leads, and of Challenge 2017."""
    root = tmp_path_factory.mktemp("raw")
    synthetic.write(root / "twelve", 60, incart_seconds=20)
    synthetic.write_single_lead(root / "single", 40)
    return root


@pytest.mark.parametrize("command", BUILDS, ids=str)
def test_data_sets_are_built(command, archives, folder, capsys):
    module, (name, *flags) = command.module
    raw = archives / ("single" if name == "physionet2017" else "twelve")
    flags = [flag.replace("RAW2017", "RAW").replace("=DATA", "=data") for flag in flags]
    shutil.copy(archives / "twelve/ptbxl_database.csv", folder)
    for placeholder in ("RAW", "PTBXL"):
        (folder / placeholder).symlink_to(raw)
    flags = [flag for flag in flags if not flag.startswith("--records")]
    flags += ["--workers=1", *(["--records=8"] if name.startswith("synthetic") else [])]
    printed = run(pages.Command(command.page, ("python", "-m", module, name, *flags)), capsys)
    (report,) = folder.glob(f"data/{name}/*/1.0.0/report.json")
    assert f"\n{report.parent.relative_to(folder)}\n" in f"\n{printed}"


def of_program(name):
    return [c for c in of_module(f"lrhnet_jax.{name}") if c.page in ("README.md", "docs/deploy.md")]


def test_networks_are_evaluated_and_exported(archives, folder, capsys):
    """The README's and docs/deploy.md's commands one after another, on a network with random weights."""
    pytest.importorskip("jax2onnx")
    (folder / "DIR").symlink_to(archives / "twelve/training/georgia")
    for command in [*of_program("export"), *of_program("evaluate")]:
        checkpoint = folder / flag(command, "checkpoint")
        if "networks" in checkpoint.parts and not checkpoint.exists():
            fakes.network(checkpoint, "physionet2020", ("I", "II"), 512)
        run(command, capsys)
        output = folder / flag(command, "output")
        assert (output / ("model.onnx" if "export" in command.module[0] else "predictions.csv")).exists()
    assert len(of_program("export")) >= 2 and len(of_program("evaluate")) >= 2


def flag(command, name):
    """Returns the value of a command's flag."""
    return next(word.partition("=")[2] for word in command.words if word.startswith(f"--{name}="))


@pytest.mark.slow
def test_what_the_readme_trains_can_be_evaluated(archives, data_dir, folder, capsys, monkeypatch):
    """The demo's graph, for an epoch, on the session's generated set; then the README's evaluation of its student."""
    monkeypatch.setattr("lrhnet_jax.runtime.host.keep_freed_memory", lambda: None)
    command = next(c for c in TRAININGS if c.page == "README.md" and "fold=all" in flag(c, "config"))
    small = ["--config.window=256", "--config.train.epochs=1", "--config.train.batch_size=8"]
    small += [f"--config.networks.{teacher}.model=lrhnet" for teacher in ("teacher12", "teacher2")]  # compiles faster
    own = [f"--config.data_dir={data_dir}", f"--config.synthetic_records={fakes.RECORDS}", "--config.data=synthetic"]
    words = [re.sub("fold=all$", "preset=demo", word) for word in command.words]
    printed = run(pages.Command(command.page, tuple(words)), capsys, [*small, *own])
    table = README.read_text()
    heads = [line.split() for line in printed.splitlines() if line.startswith("network")]
    assert heads and any(line.split() == heads[0] for line in table.splitlines())  # as the README shows
    (folder / "DIR").symlink_to(archives / "twelve/training/georgia")
    words = [word.replace("/fold0", "") for word in of_program("evaluate")[0].words]
    run(pages.Command("README.md", tuple(words)), capsys)
    assert (folder / "OUT/predictions.csv").read_text().count("\n") > 1
