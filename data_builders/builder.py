"""The TFDS builder that all sets share: records -> folds -> shards -> a set that looks finished only when it is."""

import abc
import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder, splits

from data_builders import shards
from data_builders.entries import BuildEntry, Catalogue
from lrhnet_jax.ecg import preprocess as preprocessing
from lrhnet_jax.errors import DataError

SYNTHETIC_NOTICE = "These ECGs are generated: nobody was recorded, and what is measured on them holds for no patient."


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A way to prepare the signals, under its name."""

    options: preprocessing.Preprocess = preprocessing.PAPER


def configs(options: dict[str, preprocessing.Preprocess]) -> tuple[Config, ...]:
    """Returns a builder's configs of named ways to prepare the signals; the first is the default."""
    return tuple(Config(name=name, description=f"signals prepared as {o}", options=o) for name, o in options.items())


class WfdbBuilder(dataset_builder.FileReaderBuilder):
    """Builds split "train", which holds every record; `fold` says which of the five it belongs to.

    A subclass says what its attributes say, and which records there are.

    Attributes:
      CLASSES: of the labels, in their order.
      LEADS: of the signals, in their order.
      FILE_LEADS: the same leads, as the records name them.
      TABLES: further arguments of the builder that are PTB-XL's tables.
      PUBLISHED_FOLDS: examples say which fold of the published split they are in.
      SYNTHETIC: the records are generated.
      DESCRIPTION, HOMEPAGE, CITATION: as TFDS shows them.
    """

    CLASSES: ClassVar[Sequence[str]]
    LEADS: ClassVar[Sequence[str]]
    FILE_LEADS: ClassVar[Sequence[str]]
    TABLES: ClassVar[Sequence[str]] = ()
    PUBLISHED_FOLDS: ClassVar[bool] = False
    SYNTHETIC: ClassVar[bool] = False
    DESCRIPTION: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    CITATION: ClassVar[str]

    def __init__(
        self,
        *,
        raw_dir: str | os.PathLike[str] | None = None,
        strict: bool = False,
        workers: int | None = None,
        beam: bool = False,
        **kwargs: Any,
    ):
        """Makes a builder.

        Args:
          raw_dir: the archive; None downloads it, where the data set can be.
          strict: a record that cannot be used is an error.
          workers: processes; None takes all cores.
          beam: write the shards on Apache Beam; runner and options are those of the DownloadConfig.
          **kwargs: of tfds.core.DatasetBuilder: data_dir, config.
        """
        super().__init__(file_format=shards.FILE_FORMAT, **kwargs)
        self._raw_dir, self._strict = raw_dir, strict
        self._workers = workers or shards.cores()
        self._beam = beam

    @abc.abstractmethod
    def check(self) -> None:
        """Raises DataError if the input is missing or of another kind; makes nothing, and reads no signal."""

    @abc.abstractmethod
    def _catalogue(self, dl_manager: Any) -> tuple[str | os.PathLike[str], Catalogue]:
        """Returns the folder of the archive, and what is to be built of it."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=shards.features(len(self.LEADS), len(self.CLASSES), self.PUBLISHED_FOLDS),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        """Builds everything in `self.data_path`, which TFDS renames to its final name afterwards."""
        raw_dir, catalogue = self._catalogue(dl_manager)
        if not catalogue.entries:
            raise DataError(
                f"{raw_dir}: no record can be used; {catalogue.left_out} carry no scored class, "
                f"{len(catalogue.rejected)} were rejected{_list(catalogue.rejected)}"
            )
        parts = shards.plan(catalogue.entries, download_config and download_config.num_shards)
        template = self._get_filename_template(split_name="train")
        options, leads = self.builder_config.options, tuple(self.FILE_LEADS)
        work = [
            shards.Shard(
                str(template.sharded_filepath(shard_index=i, num_shards=len(parts))), tuple(part), options, leads
            )
            for i, part in enumerate(parts)
        ]
        if self._beam:
            results = shards.write_all_with_beam(work, download_config.beam_runner, download_config.beam_options)
        else:
            results = shards.write_all(work, self._workers)
        rejected = sorted([*catalogue.rejected, *(item for result in results for item in result.rejected)])
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
        report = {
            "synthetic": self.SYNTHETIC,
            "notice": SYNTHETIC_NOTICE if self.SYNTHETIC else "",
            "records": len(built),
            "left_out_no_scored_class": catalogue.left_out,
            "rejected": [{"path": path, "reason": reason} for path, reason in rejected],
            "patients": len({entry.patient for entry in built}),
            "per_source": _count(built, lambda entry: entry.source),
            "per_class": dict(zip(self.CLASSES, np.sum([entry.labels for entry in built], 0).tolist(), strict=True)),
            "per_fold": _count(built, lambda entry: entry.fold),
            **({"per_published_fold": _count(built, lambda e: e.published_fold)} if self.PUBLISHED_FOLDS else {}),
            "classes": list(self.CLASSES),
            "leads": list(self.LEADS),
            **catalogue.report,
            "raw_dir": str(raw_dir),
            "preprocess": dataclasses.asdict(options),
        }
        pathlib.Path(self.data_path, "report.json").write_text(json.dumps(report, indent=1) + "\n")


def _count(entries: list[BuildEntry], key: Callable[[BuildEntry], Any]) -> dict[Any, int]:
    return dict(sorted(collections.Counter(map(key, entries)).items()))


def _list(rejected: list[tuple[str, str]], most: int = 20) -> str:
    """The first rejections, a line each, for an error message."""
    lines = [f"\n  {path}: {reason}" for path, reason in rejected[:most]]
    more = len(rejected) - len(lines)
    return ":" * bool(lines) + "".join(lines) + (f"\n  and {more} more" if more else "")
