"""What is to be built: the records of an archive, with labels, patients and folds, before examples are written."""

import dataclasses
from typing import Any

from data_builders import records


@dataclasses.dataclass(frozen=True)
class Entry:
    """A record that is to be built.

    Attributes:
      header: of the record.
      source: where it comes from, or "unknown".
      patient: unique over all sources; "source/record_id" where the patient is not known.
      fold: 0 to 4.
      labels: one for each class of the data set.
    """

    header: records.Header
    source: str
    patient: str
    fold: int
    labels: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The records of an archive that are to be built.

    Attributes:
      entries: sorted by path.
      left_out: how many records carry no scored class.
      rejected: paths of records that cannot be used, and why.
      report: what else report.json is to say.
    """

    entries: list[Entry]
    left_out: int
    rejected: list[tuple[str, str]]
    report: dict[str, Any] = dataclasses.field(default_factory=dict)
