"""The TFDS builder: headers -> folds -> shards -> a data set that looks finished only when it is."""

import collections
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, splits

from data_builders import preprocess
from data_builders.physionet2020 import catalogue, download, shards
from lrhnet_jax import ecg
from lrhnet_jax.errors import DataError

DESCRIPTION = """12-lead ECGs of the PhysioNet/Computing in Cardiology Challenge 2020 with its 24 scored diagnoses
(equivalent ones merged), at 257 Hz, z-scored per record and lead, of whole length."""
CITATION = """@article{perezalday2020classification,
  title={Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020},
  author={Perez Alday, Erick A and Gu, Annie and Shah, Amit J and Robichaux, Chad and Wong, An-Kwok Ian and
          Liu, Chengyu and Liu, Feifei and Rad, Ali Bahrami and Elola, Andoni and Seyedi, Salman and others},
  journal={Physiological Measurement}, volume={41}, number={12}, year={2020}, doi={10.1088/1361-6579/abc960}
}"""


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A way to prepare the signals, under its name."""

    options: preprocess.Preprocess = preprocess.PAPER


class Physionet2020(dataset_builder.FileReaderBuilder):
    """Builds split "train", which holds every record; `fold` says which of the five it belongs to."""

    name = "physionet2020"
    VERSION = tfds.core.Version("1.0.0")
    MAX_SIMULTANEOUS_DOWNLOADS = 16
    BUILDER_CONFIGS = tuple(
        Config(name=name, description=f"signals prepared as {options}", options=options)
        for name, options in preprocess.OPTIONS.items()
    )

    def __init__(
        self,
        *,
        raw_dir: str | os.PathLike[str] | None = None,
        ptbxl_database: str | os.PathLike[str] | None = None,
        strict: bool = False,
        workers: int | None = None,
        beam: bool = False,
        **kwargs: Any,
    ):
        """Makes a builder.

        Args:
          raw_dir: the archive; None downloads it.
          ptbxl_database: PTB-XL's table of patients, if it is at hand.
          strict: a record that cannot be used is an error.
          workers: processes; None takes all cores.
          beam: write the shards on Apache Beam; runner and options are those of the DownloadConfig.
          **kwargs: of tfds.core.DatasetBuilder: data_dir, config.
        """
        super().__init__(file_format=shards.FILE_FORMAT, **kwargs)
        self._raw_dir, self._ptbxl_database, self._strict = raw_dir, ptbxl_database, strict
        self._workers = workers or shards.cores()
        self._beam = beam

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            features=shards.features(),
            homepage=download.HOMEPAGE,
            citation=CITATION,
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        """Builds everything in `self.data_path`, which TFDS renames to its final name afterwards."""
        raw_dir = self._raw_dir or download.fetch(dl_manager)
        found = catalogue.read(raw_dir, self._ptbxl_database)
        if not found.entries:
            raise DataError(
                f"{raw_dir}: no record can be used; {found.left_out} carry no scored class, "
                f"{len(found.rejected)} were rejected{_list(found.rejected)}"
            )
        parts = shards.plan(found.entries, download_config and download_config.num_shards)
        template = self._get_filename_template(split_name="train")
        work = [
            shards.Shard(str(template.sharded_filepath(shard_index=i, num_shards=len(parts))), tuple(part), options)
            for options in [self.builder_config.options]
            for i, part in enumerate(parts)
        ]
        if self._beam:
            results = shards.write_all_with_beam(work, download_config.beam_runner, download_config.beam_options)
        else:
            results = shards.write_all(work, self._workers)
        rejected = sorted([*found.rejected, *(item for result in results for item in result.rejected)])
        built = [shard.entries[i] for shard, result in zip(work, results, strict=True) for i in result.written]
        if self._strict and rejected:
            raise DataError(f"{raw_dir}: {len(rejected)} records were rejected (--strict){_list(rejected)}")
        if not built:
            raise DataError(f"{raw_dir}: no record can be used; all {len(rejected)} were rejected{_list(rejected)}")
        split = splits.SplitInfo(
            name="train",
            shard_lengths=[len(result.written) for result in results],
            num_bytes=sum(result.size for result in results),
            filename_template=template,
        )
        self.info.set_splits(splits.SplitDict([split]))
        report = _report(built, found.left_out, rejected)
        report["raw_dir"], report["preprocess"] = str(raw_dir), dataclasses.asdict(self.builder_config.options)
        pathlib.Path(self.data_path, "report.json").write_text(json.dumps(report, indent=1) + "\n")


class Synthetic(Physionet2020):
    """The same over generated records (data_builders.synthetic), under a name that cannot be mistaken."""

    name = "synthetic"


def _report(built: list[catalogue.Entry], left_out: int, rejected: list[tuple[str, str]]) -> dict[str, Any]:
    labels = np.array([ecg.encode_labels(entry.header.codes) for entry in built])
    return {
        "records": len(built),
        "left_out_no_scored_class": left_out,
        "rejected": [{"path": path, "reason": reason} for path, reason in rejected],
        "patients": len({entry.patient for entry in built}),
        "per_source": dict(sorted(collections.Counter(entry.source for entry in built).items())),
        "per_class": dict(zip(ecg.CLASSES, labels.sum(0).tolist(), strict=True)),
        "per_fold": dict(sorted(collections.Counter(entry.fold for entry in built).items())),
    }


def _list(rejected: list[tuple[str, str]], most: int = 20) -> str:
    """The first rejections, a line each, for an error message."""
    lines = [f"\n  {path}: {reason}" for path, reason in rejected[:most]]
    more = len(rejected) - len(lines)
    return ":" * bool(lines) + "".join(lines) + (f"\n  and {more} more" if more else "")
