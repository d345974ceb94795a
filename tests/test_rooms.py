"""The architecture, held by its imports: a room imports only from rooms to its left (docs/architecture.md)."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Rooms of one group may import each other only where ALSO says so.
ORDER = (
    ("errors",),
    ("kernels",),
    ("runtime", "ecg"),
    ("tasks",),
    ("models",),
    ("losses",),
    ("data",),
    ("training", "scoring"),
    ("compress", "deploy", "report"),
    ("experiment",),
    ("main", "evaluate", "predict", "export", "list_models", "cli", "__main__"),
)
PLACE = {room: place for place, group in enumerate(ORDER) for room in group}
# What lies outside of the package, and the rooms that it may import; None: all.
OUTSIDE = {
    "data_builders": {"errors", "ecg", "tasks"},
    "configs": {"errors", "ecg", "tasks", "models", "losses", "compress.search"},
    "benchmarks": None,
}


def modules(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py"))


def imports(path):
    """The modules of this project that a file imports, in full; of `from a import b` a.b, whether module or name."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module):
    """Returns the room of lrhnet_jax that a dotted name belongs to, or None."""
    parts = module.split(".")
    return parts[1] if parts[0] == "lrhnet_jax" and len(parts) > 1 else None


def allowed(room, other):
    return room == other or PLACE[other] < PLACE[room]


def test_every_folder_and_module_of_the_package_is_a_known_room():
    found = {
        path.stem for path in (ROOT / "lrhnet_jax").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} <= set(PLACE)


@pytest.mark.parametrize("path", modules("lrhnet_jax"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_from_rooms_to_its_left(path):
    room = path.relative_to(ROOT / "lrhnet_jax").parts[0].removesuffix(".py")
    for module in imports(path):
        assert module.split(".")[0] not in ("benchmarks", "tests"), module
        other = room_of(module)
        if room == "__init__":
            continue
        if other in PLACE:
            assert allowed(room, other), f"{room} imports {module}"
        if module.split(".")[0] == "data_builders":
            assert PLACE[room] >= PLACE["experiment"], f"{room} imports {module}"


@pytest.mark.parametrize("folder", OUTSIDE)
def test_what_lies_outside_of_the_package_imports_what_it_may(folder):
    rooms = OUTSIDE[folder]
    for path in modules(folder):
        for module in imports(path):
            assert module.split(".")[0] != "tests", f"{path} imports {module}"
            other = room_of(module)
            if other and rooms is not None:
                assert other in rooms or ".".join(module.split(".")[1:3]) in rooms, f"{path} imports {module}"


def test_no_test_module_imports_another():
    for path in modules("tests"):
        for module in imports(path):
            parts = module.split(".")
            assert parts[0] != "tests" or not any(part.startswith("test_") for part in parts), (
                f"{path} imports {module}"
            )


@pytest.mark.parametrize("module", ["lrhnet_jax.ecg.wfdb", "lrhnet_jax.ecg.preprocess", "data_builders.build"])
def test_what_reads_and_builds_records_loads_no_jax(module):
    check = f"import sys, {module}; print({{'jax', 'flax', 'matplotlib'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
