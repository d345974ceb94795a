"""The page in the browser: its JavaScript reads and prepares as Python does; in Chromium it answers as Python does."""

import base64
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

import lrhnet_jax
from lrhnet_jax import export, tasks
from lrhnet_jax.deploy import saliency
from lrhnet_jax.deploy.web import runtime, write
from lrhnet_jax.ecg import readers, squared_paper
from lrhnet_jax.ecg.leads import LEADS, demographics_vector
from lrhnet_jax.ecg.preprocess import BANDPASS, RESAMPLE, Preprocess, preprocess
from lrhnet_jax.ecg.recording import RecordError
from lrhnet_jax.errors import ConfigError
from tests.helpers import ecg_files, ecg_texts, fakes
from tests.helpers.wfdb_files import write_noise

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = ROOT / "tests/helpers/web"
WINDOW = 1024
PLAYWRIGHT = "playwright-core@1.65.1"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def node(script, *arguments, cwd=None, timeout=300):
    done = subprocess.run(
        ["node", str(script), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page's modules, where Node takes them for modules."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(write.PAGE, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


@pytest.fixture
def read(page, tmp_path):
    """A function from cases to what the page's modules make of each, in one process."""

    def call(cases):
        path = tmp_path / "cases.json"
        path.write_text(json.dumps(cases, default=str))
        return [json.loads(line) for line in node(SCRIPTS / "read.mjs", page, path).splitlines()]

    return call


def case(files, leads=("I", "II"), options=None, given=None, window=WINDOW):
    options = options or Preprocess()
    meta = {"leads": leads, "window": window, "preprocess_options": vars(options)}
    tables = write.tables(options, tasks.PHYSIONET2020)
    return {"files": [str(file) for file in files], "given": given, "meta": meta, "tables": tables}


def floats(text):
    return np.frombuffer(base64.b64decode(text), np.float32)


def windows_of(signal, rate, options, window=WINDOW):
    """(windows, window, leads), and where they begin, as docs/deploy.md tells."""
    prepared = preprocess(signal, rate, options).astype(np.float32)
    length = len(prepared)
    if length <= window:
        starts = [-((window - length) // 2)]
    else:
        starts = np.linspace(0, length - window, -(-length // window)).round().astype(int).tolist()
    padded = np.pad(prepared, ((window, window), (0, 0)))
    return np.stack([padded[window + start : 2 * window + start] for start in starts]), starts


def assert_same(found, recording, leads=("I", "II"), options=None):
    """A recording that JavaScript has read, and the windows that it has cut, are Python's."""
    assert (found["rate"], found["leads"]) == (recording.rate, list(recording.leads))
    signal = np.stack([floats(text) for text in found["signals"]], 1)
    np.testing.assert_allclose(signal, recording.signal, atol=1e-6)
    if "error" in found:
        return
    own = readers.select(recording, leads)
    windows, starts = windows_of(own.signal, own.rate, options or Preprocess())
    assert found["starts"] == starts
    ours = floats(found["windows"]).reshape(windows.shape)
    # Values that lie between two of float16 may go to either; the reference's filter makes the most of rounding errors.
    np.testing.assert_allclose(ours, windows, rtol=2**-10, atol=2**-10)
    assert np.mean(ours != windows) < 0.03
    assert found["person"] == pytest.approx(demographics_vector(own.age, own.sex).tolist())


@needs_node
def test_examples_are_read_and_prepared_as_python_does(read):
    sets = [
        ("HR00001.hea", "HR00001.mat"),
        ("HR09289.edf",),
        ("A00002.csv",),
        ("A00004.mat", "A00004.hea"),
    ]
    leads = [("I", "II"), ("aVF", "V5"), ("I",), ("I",)]
    cases = [case([EXAMPLES / name for name in names], own) for names, own in zip(sets, leads, strict=True)]
    for names, own, (found,) in zip(sets, leads, read(cases), strict=True):
        recording = readers.read(EXAMPLES / next(name for name in names if not name.endswith(".mat")))
        assert "error" not in found
        assert_same(found, recording, own)
        assert found["notes"] == list(recording.notes)
        assert found["age"] == recording.age and found["sex"] == recording.sex


@needs_node
def test_every_way_to_prepare_is_the_same(read, tmp_path):
    """Ratios of rates, filters, recordings shorter than a window, and of many."""
    paths = [
        write_noise(tmp_path, f"r{rate}", leads=("I", "II"), rate=rate, seconds=s)
        for rate, s in ((500, 3.0), (257, 9.0), (360, 20.5))
    ]
    ways = [Preprocess(resample, bandpass) for resample in RESAMPLE for bandpass in BANDPASS]
    chosen = [(path, way) for path in paths for way in (*ways, Preprocess(bandpass="monitor", rate=300.0))]
    files = {path: [path, *path.parent.glob(f"{path.stem}.[dm]at")] for path in paths}
    found = read([case(files[path], options=way) for path, way in chosen])
    assert len(chosen) == 27
    for (path, way), (one,) in zip(chosen, found, strict=True):
        assert_same(one, readers.read(path), options=way)


@needs_node
def test_numbers_are_rounded_as_float16_and_ratios_limited_as_python_does(read):
    import fractions

    rng = np.random.default_rng(0)
    numbers = np.concatenate(
        [rng.normal(size=500), 10.0 ** rng.uniform(-8, 4, 500), [0, -0.0, 2049, 2051, 1 + 2**-11, 6e-8]]
    )
    numbers = numbers.astype(np.float32)
    rates = [257 / 500, 257 / 360, 300 / 512.4, 257 / 999.99, 2.0, 1.0, 257 / 128.000001]
    (found,) = read([{"numbers": numbers.tolist(), "ratios": rates}])
    np.testing.assert_array_equal(np.array(found["halves"]), numbers.astype(np.float16).astype(np.float64))
    expected = [fractions.Fraction(rate).limit_denominator(10_000) for rate in rates]
    assert found["ratios"] == [[one.numerator, one.denominator] for one in expected]


@needs_node
def test_tables_in_every_dialect(read, tmp_path):
    cases, expected = [], []
    for number, (name, table) in enumerate(ecg_texts.TABLES.items()):
        encoding = ("utf-8", "utf-8-sig", "utf-16")[number % 3]
        path = ecg_texts.write_table(tmp_path / f"{number}.csv", *table, encoding=encoding, newline="\r\n")
        cases.append(case([path]))
        expected.append((name, readers.read(path)))
    plain = ecg_texts.write_table(tmp_path / "plain.csv", [], lambda i, a, b: f"{a:.4f},{b:.4f}")
    cases.append(case([plain], given={"rate": 500, "leads": ["I", "II"], "unit": "uV"}))
    expected.append(("given", readers.read(plain, 500, ["I", "II"], "uV")))
    for (name, recording), (found,) in zip(expected, read(cases), strict=True):
        assert "error" not in found, name
        assert_same(found, recording)
        assert found["notes"] == list(recording.notes), name


@needs_node
def test_other_devices_files(read, tmp_path):
    """BDF, an Apple Watch's CSV, gaps, a lead that is flat, ages and sexes."""
    pytest.importorskip("pyedflib")
    values = ecg_files.counts()
    ecg_files.write_edf(tmp_path / "a.bdf", values, bdf=True)
    ecg_texts.write_apple(tmp_path / "watch.csv", values[:, :1], "de", "512")
    flat = "time,I,II\n" + "".join(f"{i / 100},0.25,{np.sin(i / 9):.4f}\n" for i in range(300))
    (tmp_path / "flat.csv").write_text("# age: 89+\n# sex: M\n" + flat)
    (tmp_path / "gap.csv").write_text(flat.replace("1.5,0.25,", "1.5,,"))
    cases = [case([tmp_path / name], leads) for name, leads in (("a.bdf", LEADS), ("watch.csv", ("I",)))]
    cases += [case([tmp_path / "flat.csv"]), case([tmp_path / "gap.csv"])]
    found = [one for (one,) in read(cases)]
    for one, name, leads in zip(found, ("a.bdf", "watch.csv", "flat.csv"), (LEADS, ("I",), ("I", "II")), strict=False):
        assert_same(one, readers.read(tmp_path / name), leads)
        assert "error" not in one
    assert found[2]["person"] == pytest.approx([0.9, 1, 0, 1, 1])
    assert found[3]["error"].startswith("lacks samples (1 of lead I, of 300)")


LINE = "{0}.dat {1} 1000 16 0 0 0 0 I\n"
BAD = {
    "empty.csv": ("", "is empty (0 bytes)"),
    "letter.csv": ("dear doctor,\nthe ECG is attached\n", "is not an ECG file that this page reads"),
    "scan.pdf": ("%PDF-1.4", "is a PDF of an ECG"),
    "scan.csv": ("\x89PNG\r\n", "is a picture of an ECG"),
    "lonely.dat": ("\1\2" * 900, "is a signal file without its header; choose lonely.hea together with it"),
    "short.csv": ("time,I,II\n0.00,1,2\n0.01,1,2\n0.02,2,3\n", "short signal: 3 samples at 100 Hz"),
    "rate.csv": ("I,II\n" + "0.1,0.2\n" * 900, "does not say its sampling rate"),
    "cut.csv": ("time,I,II\n" + "".join(f"{i},0.1,0.2\n" for i in range(900)) + "900,0.1", "its rows are not alike"),
    "nan.csv": ("fs: 100\n\nI,II\n" + "nan,nan\n" * 900, "every one is missing"),
    "names.csv": ("fs: 100\n\n" + "0.1,0.2\n" * 900, "does not name its 2 columns"),
    "chest.csv": ("fs: 100\n\nV1,V2\n" + "0.1,0.2\n" * 900, "lacks lead I, II (it has V1, V2); the network reads I"),
    "header.hea": ("header 2 500 5000\n" + LINE.format("header", 16), "wrong lead count: 2 announced, 1 described"),
    "alone.hea": ("alone 1 500 5000\n" + LINE.format("alone", 16), "needs the signal file alone.dat; choose both"),
    "packed.hea": ("packed 1 500 5000\n" + LINE.format("packed", 212), "storage format 212, which this page does not"),
    "parts.hea": ("parts/2 1 500 5000\na 2500\nb 2500\n", "in several segments, which this page does not read"),
}


@needs_node
def test_bad_files_get_a_clear_message_and_stop_no_other(read, tmp_path):
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    whole = (EXAMPLES / "HR09289.edf").read_bytes()
    (tmp_path / "cut.edf").write_bytes(whole[: len(whole) // 2])
    names = [*BAD, "cut.edf"]
    good = EXAMPLES / "A00002.csv"
    dicom = EXAMPLES / "HR10862.dcm"
    (found,) = read([case([*(tmp_path / name for name in names), dicom, good])])
    told = {one["name"]: one.get("error") for one in found}
    for name, (_, message) in BAD.items():
        assert message in (told[name] or ""), name
    assert told["cut.edf"].startswith("truncated: its EDF header claims")
    assert told["HR10862.dcm"].startswith("is DICOM, which this page does not read; lrhnet-jax predict does")
    assert found[-1]["name"] == "A00002.csv" and found[-1]["leads"] == ["I"]


def test_bad_files_are_bad_for_python_too(tmp_path):
    """But for what the page alone does not read."""
    for name, (content, _) in BAD.items():
        if name not in ("packed.hea", "parts.hea"):
            (tmp_path / name).write_bytes(content.encode("latin-1"))
            with pytest.raises(RecordError):
                readers.select(readers.read(tmp_path / name), ("I", "II"))


@pytest.fixture
def small_runtime(monkeypatch, tmp_path):
    """A package of three small files in the place of onnxruntime-web's, and its archive."""
    folder = tmp_path / "package/dist"
    folder.mkdir(parents=True)
    files = {}
    for name, file in runtime.FILES.items():
        (folder / name).write_text(name)
        files[name] = file._replace(sha256=hashlib.sha256(name.encode()).hexdigest())
    monkeypatch.setattr(runtime, "FILES", files)
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    return tmp_path


def test_the_runtime_is_taken_from_a_folder_a_package_or_npm_and_compared(small_runtime, monkeypatch):
    expected = {file.name: name.encode() for name, file in runtime.FILES.items()}
    assert runtime.fetch(small_runtime / "package") == expected
    assert runtime.fetch(small_runtime / "package.tgz") == expected
    npm = small_runtime / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" > {small_runtime}/called\ncp {small_runtime}/package.tgz "$5"\n')
    npm.chmod(0o755)
    monkeypatch.setattr(runtime.shutil, "which", lambda name: str(npm))
    assert runtime.fetch() == expected
    assert (small_runtime / "called").read_text().startswith("pack onnxruntime-web@1.30.0 --silent")
    npm.write_text('#!/bin/sh\necho "no network" >&2\nexit 1\n')
    with pytest.raises(
        ConfigError, match=r"npm could not get onnxruntime-web 1\.30\.0 \(no network\).*--onnxruntime_web"
    ):
        runtime.fetch()
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"install Node\.js"):
        runtime.fetch()


def test_another_runtime_is_refused(small_runtime):
    changed = small_runtime / "package/dist/ort.wasm.min.mjs"
    changed.write_text("changed")
    with pytest.raises(ConfigError, match=r"ort\.wasm\.min\.mjs is not that of onnxruntime-web 1\.30\.0"):
        runtime.fetch(small_runtime / "package")
    changed.unlink()
    with pytest.raises(ConfigError, match=r"lacks ort\.wasm\.min\.mjs"):
        runtime.fetch(small_runtime / "package")
    (small_runtime / "package.tgz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="not a package of npm"):
        runtime.fetch(small_runtime / "package.tgz")


def test_the_page_is_plain_and_fetches_nothing_from_elsewhere():
    texts = {path.name: path.read_text() for path in write.PAGE.iterdir()}
    assert {"index.html", "style.css", "app.js", "licences.html"} <= set(texts)
    for name, text in texts.items():
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", "").replace("http://", "x"), (
            name
        )
    html = texts["index.html"]
    assert "Nothing is uploaded." in html and "Not a medical device" in html and "default-src 'none'" in html


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A network, and the address of its page, written by the command and served by Python's plain server."""
    pytest.importorskip("jax2onnx")
    folder = tmp_path_factory.mktemp("served")
    network = fakes.network(folder / "network", "physionet2020", ("I",), WINDOW)
    try:
        ort = runtime.fetch()
    except ConfigError as error:
        pytest.skip(str(error))
    for name, content in ort.items():
        (folder / name).write_bytes(content)
    for name, file in runtime.FILES.items():  # as a folder of npm's has them
        (folder / file.name).rename(folder / name)
    arguments = [
        f"--checkpoint={network}",
        f"--output={folder / 'out'}",
        "--formats=web",
        f"--onnxruntime_web={folder}",
    ]
    assert export.main(arguments) == 0
    described = folder / "out/web/model.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "card": fakes.CARD}))
    command = (sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder / "out/web"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"}) as server:  # fmt: skip
        address = server.stdout.readline().split("(")[1].split(")")[0]
        yield network, address
        server.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A folder with the script that drives Chromium and what it needs, or a skip that says what is missing."""
    if not CHROMIUM or not shutil.which("npm"):
        pytest.skip("needs chromium, node and npm")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", PLAYWRIGHT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm could not get {PLAYWRIGHT}: {done.stderr.strip()[-200:]}")
    shutil.copy(SCRIPTS / "browse.mjs", folder)
    return folder


@pytest.mark.slow
def test_in_chromium_the_page_answers_as_python_does(served, browser, tmp_path):
    """Screenshots are kept in $LRHNET_TEST_ARTEFACTS, or else with the test's temporary files."""
    network, address = served
    artefacts = pathlib.Path(os.environ.get("LRHNET_TEST_ARTEFACTS", tmp_path)) / "web"
    artefacts.mkdir(parents=True, exist_ok=True)
    (tmp_path / "letter.csv").write_text("dear doctor,\n<b>the ECG</b> is attached\n")
    sets = [["A00002.csv"], ["HR00001.hea", "HR00001.mat"], ["HR09289.edf"]]
    files = [[str(EXAMPLES / name) for name in names] for names in sets] + [[str(tmp_path / "letter.csv")]]
    strip = readers.read(EXAMPLES / "A00002.csv").signal
    (tmp_path / "plain.csv").write_text("".join(f"{value:.3f}\n" for value in strip[:, 0].tolist()))
    order = {
        "plain": str(tmp_path / "plain.csv"),
        "chromium": CHROMIUM,
        "url": address,
        "sets": files,
        "screenshots": str(artefacts),
    }
    told = json.loads(node("browse.mjs", json.dumps(order), cwd=browser))
    model = lrhnet_jax.load(network)
    unseen = ("recorded at 300 Hz: the network has seen 500 Hz", "30 s long: the network has seen 5 to 12 s")
    for names, found in zip(sets, told["answers"], strict=False):
        answer = model.predict_file(EXAMPLES / names[0])
        values = [found["probabilities"][code] for code in answer.classes]
        np.testing.assert_allclose(values, answer.probabilities, atol=1e-3)
        assert np.ptp(values) > 0.05  # so that the comparison can fail
        decided = {code for code, yes in zip(answer.classes, answer.decisions, strict=True) if yes}
        near = {code for code, p in zip(answer.classes, answer.probabilities, strict=True) if abs(p - 0.5) < 1e-3}
        assert set(found["decisions"]) ^ decided <= near and found["decision"] == str(answer)
        assert found["traces"] >= 1 and not found["overflow"]
        assert set(found["notes"]) - {"nothing to note", *unseen} <= set(answer.notes)
        assert set(unseen) <= set(found["notes"]) or names[0] != "A00002.csv"
        # What the page says that the network looked at is what Python says, too.
        looked = found["looked"]
        recording = readers.read(EXAMPLES / names[0])
        seconds = squared_paper.shown_seconds(LEADS if len(recording.leads) == 12 else ("I",), 30.0)
        ours = saliency.explain(model, recording, saliency.chosen(answer), seconds)
        np.testing.assert_allclose(looked["covered"], ours.covered, atol=1e-3)
        assert looked["silent"] == pytest.approx(ours.silent, abs=1e-3)
        assert looked["words"].split(".")[0] == str(ours).split(".")[0]
        assert (looked["shades"] > 0) == bool(ours.shade.any())
    assert "macro AUROC 0.900 (0.850 to ?); 408 records: patients that it has not learned from" in told["facts"]
    assert "diagnosing anyone\nchildren" in told["facts"] and fakes.CARD["attribution"][0] in told["facts"]
    typed = model.predict(strip, 500, ("I",), 61, "female")
    np.testing.assert_allclose([told["given"][code] for code in typed.classes], typed.probabilities, atol=1e-3)
    bad = told["answers"][-1]
    assert bad["error"].startswith("letter.csv: is not an ECG file that this page reads") and bad["traces"] == 0
    assert told["dropped"] == [["<img src=x>.csv", 24]]
    assert told["complaints"] == [] and told["later"] == []  # nothing is fetched or sent once it is loaded
    assert all(request.startswith(f"GET {address}") for request in told["requests"])
    assert told["sent"] == "refused" and told["refused"]
    assert told["first"] == "files" and told["nameless"] == []
    assert {path.name for path in artefacts.iterdir()} >= {"desk.png", "phone-0.png", "phone-3.png"}


@pytest.mark.slow
def test_the_folder_is_a_model_for_python_too(served):
    network, address = served
    folder = network.parent / "out/web"
    recording = readers.read(EXAMPLES / "A00002.csv")
    expected = lrhnet_jax.load(network).predict_recording(recording).probabilities
    found = lrhnet_jax.load(folder / "model.onnx").predict_recording(recording).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for _ in range(3):
        try:
            with urllib.request.urlopen(f"{address}ort/ort.wasm.min.js", timeout=10) as answer:
                assert answer.headers["Content-Type"].endswith("javascript")
            break
        except urllib.error.URLError:  # the server is starting
            time.sleep(1)
