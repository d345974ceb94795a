"""Builds a data set.

    python -m data_builders.build physionet2020 --raw_dir=RAW --data_dir=DATA [--ptbxl_database=CSV]
    python -m data_builders.build physionet2017 --raw_dir=RAW --data_dir=DATA [--preprocess=300hz]
    python -m data_builders.build ptbxl --raw_dir=RAW --data_dir=DATA [--ptbxl_database=CSV --preprocess=100hz]
    python -m data_builders.build cpsc2018 --raw_dir=RAW --data_dir=DATA [--preprocess=100hz]
    python -m data_builders.build synthetic --data_dir=DATA [--records=N --seed=S]

Without --raw_dir Challenge 2020 is downloaded from PhysioNet (several GB). What has been built lies in
DATA/NAME/PREPROCESS/1.0.0, with a report.json that counts the records and lists those that were rejected. docs/data.md
describes the sets. synthetic_ptbxl and synthetic_physionet2017 have generated ECGs with the classes of those sets.
"""

import json
import logging
import os
import pathlib
import sys
from collections.abc import Sequence

from data_builders import folders, guard, shards, synthetic
from data_builders.builder import WfdbBuilder
from data_builders.cpsc2018 import Cpsc2018
from data_builders.physionet2017 import Physionet2017, SyntheticPhysionet2017
from data_builders.physionet2020 import Physionet2020, Synthetic
from data_builders.ptbxl import Ptbxl, SyntheticPtbxl
from lrhnet_jax.errors import DataError, Parser, as_storage_error, choose, command
from lrhnet_jax.tasks import physionet2020

BUILDERS: dict[str, type[WfdbBuilder]] = {
    builder.name: builder
    for builder in (
        Physionet2020,
        Physionet2017,
        Ptbxl,
        Cpsc2018,
        Synthetic,
        SyntheticPhysionet2017,
        SyntheticPtbxl,
    )
}
# The sets that can be generated, by the real set whose classes they have.
SYNTHETIC = {"physionet2020": "synthetic", "physionet2017": "synthetic_physionet2017", "ptbxl": "synthetic_ptbxl"}


def build(
    name: str,
    raw_dir: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str],
    *,
    preprocess: str | None = None,
    ptbxl_database: str | os.PathLike[str] | None = None,
    scp_statements: str | os.PathLike[str] | None = None,
    strict: bool = False,
    workers: int | None = None,
    beam: bool = False,
    beam_options: Sequence[str] = (),
    overwrite: bool = False,
) -> pathlib.Path:
    """Builds a data set from WFDB records; a set that is there already is left as it is.

    Args:
      name: one of BUILDERS.
      raw_dir: the records; None downloads Challenge 2020's archive (into data_dir/downloads).
      data_dir: the set comes to lie in data_dir/name/preprocess/version.
      preprocess: a name of the builder's BUILDER_CONFIGS; None is the first, "paper" or, of physionet2017, "300hz".
      ptbxl_database: PTB-XL's ptbxl_database.csv, for its patients in physionet2020, and for all but the signals in
        ptbxl, which otherwise takes the one in raw_dir.
      scp_statements: PTB-XL's scp_statements.csv, for ptbxl, if it is not to take the built-in superclasses.
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

    guard.check()
    choose("", name, BUILDERS, noun="data set", error=DataError)
    options = _preprocess_names(name)
    preprocess = options[0] if preprocess is None else preprocess
    choose("", preprocess, options, noun="preprocess", error=DataError)
    given = {"ptbxl_database": ptbxl_database, "scp_statements": scp_statements}
    tables = {table: path for table, path in given.items() if path is not None}
    for table in set(tables) - set(BUILDERS[name].TABLES):
        raise DataError(f"{name} does not use PTB-XL's table: leave {table} out")
    if BUILDERS[name].SYNTHETIC and raw_dir is None:
        raise DataError(f"the set {name} is generated, not downloaded: use build_synthetic, or give raw_dir")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    if beam:
        config.beam_options = _beam_options(beam_options)
    data_dir = pathlib.Path(data_dir).expanduser()
    builder = BUILDERS[name](
        data_dir=data_dir,
        config=preprocess,
        raw_dir=raw_dir,
        strict=strict,
        workers=workers,
        beam=beam,
        **tables,
    )
    builder.check()  # whatever is wrong with the input shows before anything is made in data_dir
    folder = pathlib.Path(builder.data_path)
    with folders.alone(folder):
        if folder.exists() and not overwrite:
            logging.warning("%s is built already and left as it is; --overwrite builds it again", folder)
            return folder
        if overwrite:
            config.download_mode = tfds.GenerateMode.REUSE_CACHE_IF_EXISTS
        try:
            builder.download_and_prepare(download_config=config, download_dir=data_dir / "downloads")
        except Exception as error:
            if told := as_storage_error(error, folder):
                raise told from error
            raise
    return folder


def build_synthetic(
    data_dir: str | os.PathLike[str],
    records: int,
    seed: int = 0,
    *,
    kind: str = "physionet2020",
    preprocess: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Generates `records` ECGs as WFDB files in a temporary folder, and builds a set from them.

    Args:
      data_dir, preprocess, workers, overwrite: of `build`.
      records: how many. Some carry no class of the set, and are left out.
      seed: of the set.
      kind: the real set whose classes and layout the generated one has, a key of SYNTHETIC.

    Returns:
      The folder of the built set, SYNTHETIC[kind].

    Raises:
      DataError: if no ECGs can be generated for `kind`, or none are asked for.
    """
    guard.check()
    if kind not in SYNTHETIC:
        raise DataError(f"no ECGs can be generated for {kind!r}; choose {', '.join(SYNTHETIC)}")
    if records < 1:
        raise DataError(f"cannot make a data set of {records} records; give --records=1 or more")
    processes = workers or shards.cores()
    with folders.scratch() as raw:
        database = None
        if kind == "physionet2017":
            synthetic.write_single_lead(raw, records, seed, workers=processes)
        else:
            synthetic.write(raw, records, seed, source="ptb-xl" if kind == "ptbxl" else "", workers=processes)
            database = pathlib.Path(raw, "ptbxl_database.csv")
        return build(
            SYNTHETIC[kind],
            raw,
            data_dir,
            preprocess=preprocess,
            ptbxl_database=database,
            workers=workers,
            overwrite=overwrite,
        )


def _preprocess_names(name: str) -> tuple[str, ...]:
    """The ways to prepare the signals of a data set, its default first."""
    return tuple(config.name for config in BUILDERS[name].BUILDER_CONFIGS)


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
    classes = ", ".join(
        f"{physionet2020.DIAGNOSES.get(code, (code,))[0]} {n}" for code, n in report["per_class"].items()
    )
    duplicates = [" = ".join(group["records"]) for group in report.get("duplicates", ())]
    lines = [
        f"{folder}",
        *([f"  {report['notice']}"] if report.get("notice") else []),
        f"  {report['records']} records of {report['patients']} patients: {sources}",
        f"  classes: {classes}",
        *(f"  the same signal twice, kept in one fold: {group}" for group in duplicates),
        f"  {report['left_out_no_scored_class']} left out, which carry no class of the set",
        f"  {len(rejected)} rejected" + (f", all listed in {folder / 'report.json'}:" if rejected else ""),
        *(f"    {item['path']}: {item['reason']}" for item in rejected[:20]),
    ]
    if len(rejected) > 20:
        lines.append(f"    and {len(rejected) - 20} more")
    return "\n".join(lines)


@command
def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="lrhnet-jax build", description=__doc__)
    sets = parser.add_subparsers(dest="name", required=True)
    challenge2020 = sets.add_parser("physionet2020", help="the PhysioNet/CinC Challenge 2020: 12 leads, 24 diagnoses")
    challenge2020.add_argument("--raw_dir", help="folder with training/SOURCE/g*/NAME.hea; left out: download")
    challenge2020.add_argument(
        "--ptbxl_database", help="PTB-XL's ptbxl_database.csv: keeps its patients in one fold each"
    )
    challenge2017 = sets.add_parser("physionet2017", help="the PhysioNet/CinC Challenge 2017: one lead, four classes")
    challenge2017.add_argument(
        "--raw_dir", required=True, help="folder with training2017/ or training/A00/, and REFERENCE-v3.csv"
    )
    ptbxl = sets.add_parser("ptbxl", help="PTB-XL: 12 leads, five superclasses of diagnoses")
    ptbxl.add_argument(
        "--raw_dir", required=True, help="folder with records500/ of PTB-XL, or training/ptb-xl/ of Challenge 2020"
    )
    ptbxl.add_argument("--ptbxl_database", help="PTB-XL's ptbxl_database.csv (RAW/ptbxl_database.csv)")
    ptbxl.add_argument(
        "--scp_statements", help="PTB-XL's scp_statements.csv (that of release 1.0.3, which is built in)"
    )
    cpsc = sets.add_parser("cpsc2018", help="the China Physiological Signal Challenge 2018: 12 leads, nine classes")
    cpsc.add_argument("--raw_dir", required=True, help="folder with training/cpsc_2018/ of Challenge 2020")
    for recorded in (challenge2020, challenge2017, ptbxl, cpsc):
        recorded.add_argument("--strict", action="store_true", help="a record that cannot be used is an error")
        recorded.add_argument("--beam", action="store_true", help="run on Apache Beam (pip install 'lrhnet-jax[beam]')")
        recorded.add_argument(
            "--beam_option",
            action="append",
            default=[],
            metavar="OPTION",
            help="of Beam, as --beam_option=--runner=Flink",
        )
    for kind, name in SYNTHETIC.items():
        generated = sets.add_parser(name, help=f"generated ECGs with the classes of {kind}")
        generated.add_argument("--records", type=int, default=1000)
        generated.add_argument("--seed", type=int, default=0)
        generated.set_defaults(kind=kind)
    for name, chosen in sets.choices.items():
        options = _preprocess_names(name)
        chosen.add_argument("--data_dir", required=True, help="where the set is to lie")
        chosen.add_argument("--preprocess", choices=options, default=options[0])
        chosen.add_argument("--workers", type=int, help="processes (all cores)")
        chosen.add_argument("--overwrite", action="store_true", help="build again what is there already")
    flags = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if "kind" in flags:
        del flags["name"]
        folder = build_synthetic(**flags)
    else:
        flags["beam_options"] = flags.pop("beam_option")
        folder = build(**flags)
    print(summary(folder))


if __name__ == "__main__":
    sys.exit(main())
