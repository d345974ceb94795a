"""Builds a data set.

    python -m data_builders.build physionet2020 --raw_dir=RAW --data_dir=DATA [--ptbxl_database=CSV]
    python -m data_builders.build synthetic --data_dir=DATA [--records=N --seed=S]

Without --raw_dir the archive is downloaded from PhysioNet (several GB). What has been built lies in
DATA/NAME/PREPROCESS/1.0.0, with a report.json that counts the records and lists those that were rejected.
"""

import argparse
import contextlib
import fcntl
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

from data_builders import preprocess as preprocessing
from data_builders import synthetic
from data_builders.physionet2020 import Physionet2020, Synthetic, catalogue, shards
from lrhnet_jax import ecg
from lrhnet_jax.errors import DataError, UserError

BUILDERS = {"physionet2020": Physionet2020, "synthetic": Synthetic}


def build(
    name: str,
    raw_dir: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str],
    *,
    preprocess: str = "paper",
    ptbxl_database: str | os.PathLike[str] | None = None,
    strict: bool = False,
    workers: int | None = None,
    beam: bool = False,
    beam_options: Sequence[str] = (),
    overwrite: bool = False,
) -> pathlib.Path:
    """Builds a data set from WFDB records; a set that is there already is left as it is.

    Args:
      name: "physionet2020" or "synthetic".
      raw_dir: the records; None downloads the Challenge's archive (into data_dir/downloads).
      data_dir: the set comes to lie in data_dir/name/preprocess/version.
      preprocess: a name of `preprocess.OPTIONS`.
      ptbxl_database: PTB-XL's ptbxl_database.csv, for its patients.
      strict: a record that cannot be used is an error.
      workers: processes; None takes all cores. The result does not depend on it.
      beam: run on Apache Beam instead.
      beam_options: Beam's pipeline options, as on its command line.
      overwrite: build again what is there already.

    Returns:
      The folder of the built set.

    Raises:
      DataError: if there is nothing to build from, or a record is rejected under `strict`.
    """
    import tensorflow_datasets as tfds

    if name not in BUILDERS:
        raise DataError(f"unknown data set {name!r}; choose {', '.join(BUILDERS)}")
    if preprocess not in preprocessing.OPTIONS:
        raise DataError(f"unknown preprocess {preprocess!r}; choose {', '.join(preprocessing.OPTIONS)}")
    if raw_dir is None and name == "synthetic":
        raise DataError("the synthetic set is generated, not downloaded: use build_synthetic, or give raw_dir")
    if raw_dir is not None:
        catalogue.find(raw_dir)  # before anything is made in data_dir
    if ptbxl_database is not None:
        catalogue.read_patients(ptbxl_database)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    if beam:
        config.beam_options = _beam_options(beam_options)
    data_dir = pathlib.Path(data_dir).expanduser()
    builder = BUILDERS[name](
        data_dir=data_dir,
        config=preprocess,
        raw_dir=raw_dir,
        ptbxl_database=ptbxl_database,
        strict=strict,
        workers=workers,
        beam=beam,
    )
    folder = pathlib.Path(builder.data_path)
    with _alone(folder):
        if folder.exists() and not overwrite:
            logging.warning("%s is built already and left as it is; --overwrite builds it again", folder)
            return folder
        if overwrite:
            config.download_mode = tfds.GenerateMode.REUSE_CACHE_IF_EXISTS
        builder.download_and_prepare(download_config=config, download_dir=data_dir / "downloads")
    return folder


def build_synthetic(
    data_dir: str | os.PathLike[str],
    records: int,
    seed: int = 0,
    *,
    preprocess: str = "paper",
    workers: int | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Generates `records` ECGs as WFDB files in a temporary folder, and builds the set "synthetic" from them.

    Returns:
      The folder of the built set.
    """
    if records < 1:
        raise DataError(f"{records} records are no data set; give --records=1 or more")
    with tempfile.TemporaryDirectory(prefix="lrhnet-synthetic-") as raw:
        synthetic.write(raw, records, seed, workers=workers or shards.cores())
        return build(
            "synthetic",
            raw,
            data_dir,
            preprocess=preprocess,
            ptbxl_database=pathlib.Path(raw, "ptbxl_database.csv"),
            workers=workers,
            overwrite=overwrite,
        )


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Holds the only build of `folder`, and removes what killed ones have left beside it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.warning("waiting for another process that builds %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.parent.glob(f"incomplete.*_{folder.name}"):
            logging.warning("removing %s, which a build that was killed has left", left)
            shutil.rmtree(left)
        yield


def _beam_options(arguments: Sequence[str]):
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise DataError("--beam needs Apache Beam: pip install 'lrhnet-jax[beam]'") from error
    return PipelineOptions(list(arguments))


def summary(folder: pathlib.Path) -> str:
    """Returns what has been built, as lines for a terminal."""
    report = json.loads((folder / "report.json").read_text())
    rejected = report["rejected"]
    sources = ", ".join(f"{source} {n}" for source, n in report["per_source"].items())
    classes = ", ".join(f"{ecg.DIAGNOSES[code][0]} {n}" for code, n in report["per_class"].items())
    lines = [
        f"{folder}",
        f"  {report['records']} records of {report['patients']} patients: {sources}",
        f"  classes: {classes}",
        f"  {report['left_out_no_scored_class']} left out, which carry no scored class",
        f"  {len(rejected)} rejected" + (f", all listed in {folder / 'report.json'}:" if rejected else ""),
        *(f"    {item['path']}: {item['reason']}" for item in rejected[:20]),
    ]
    if len(rejected) > 20:
        lines.append(f"    and {len(rejected) - 20} more")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m data_builders.build", description=__doc__.split("\n")[0])
    sets = parser.add_subparsers(dest="name", required=True)
    physionet = sets.add_parser("physionet2020", help="the PhysioNet/CinC Challenge 2020")
    physionet.add_argument("--raw_dir", help="folder with training/SOURCE/g*/NAME.hea; left out: download")
    physionet.add_argument("--ptbxl_database", help="PTB-XL's ptbxl_database.csv: keeps its patients in one fold each")
    physionet.add_argument("--strict", action="store_true", help="a record that cannot be used is an error")
    physionet.add_argument("--beam", action="store_true", help="run on Apache Beam (pip install 'lrhnet-jax[beam]')")
    physionet.add_argument(
        "--beam_option", action="append", default=[], metavar="OPTION", help="of Beam, as --beam_option=--runner=Flink"
    )
    generated = sets.add_parser("synthetic", help="generated ECGs")
    generated.add_argument("--records", type=int, default=1000)
    generated.add_argument("--seed", type=int, default=0)
    for command in (physionet, generated):
        command.add_argument("--data_dir", required=True, help="where the set is to lie")
        command.add_argument("--preprocess", choices=tuple(preprocessing.OPTIONS), default="paper")
        command.add_argument("--workers", type=int, help="processes (all cores)")
        command.add_argument("--overwrite", action="store_true", help="build again what is there already")
    flags = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        if flags["name"] == "synthetic":
            del flags["name"]
            folder = build_synthetic(**flags)
        else:
            flags["beam_options"] = flags.pop("beam_option")
            folder = build(**flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
