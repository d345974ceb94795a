"""The data set that a config names: built already, or generated now."""

import logging
from collections.abc import Sequence

from data_builders import build
from lrhnet_jax import tasks
from lrhnet_jax.data import dataset
from lrhnet_jax.errors import DataError

logger = logging.getLogger(__name__)


def resolve(
    name: str,
    data_dir: str,
    preprocess: str,
    synthetic_records: int,
    datasets: Sequence[str] = ("physionet2020",),
) -> dataset.Dataset:
    """Loads the data set that a config names: "auto" takes the real set if that is built, else generated ECGs.

    A set of generated ECGs is built on first use.

    Args:
      name: one of `tasks.choices(datasets)`.
      data_dir, preprocess: the set lies in data_dir/NAME/preprocess.
      synthetic_records: how many to generate.
      datasets: the real sets that the experiment is for; "auto" means the first.

    Raises:
      DataError: for another name, or if a set is not built that cannot be generated; the message says how to get it.
    """
    wanted = tasks.choose(name, datasets)
    if name != wanted.synthetic:
        path = dataset.find(wanted.name, data_dir, preprocess)
        if path:
            return dataset.load(path)
        if name == wanted.name or not wanted.synthetic:
            get = wanted.get.format(flags=f"--data_dir={data_dir} --preprocess={preprocess}")
            raise DataError(
                f"{wanted.title} is not built under {data_dir!r} with preprocess={preprocess!r}. {get}, or point "
                "--config.data_dir at a built copy"
            )
        logger.warning(
            "%s is not built under %r with preprocess=%r: GENERATED ECGs are used instead",
            wanted.title,
            data_dir,
            preprocess,
        )
    path = dataset.find(wanted.synthetic, data_dir, preprocess)
    if path is None:
        logger.info("building %d synthetic records under %s (once)", synthetic_records, data_dir)
        path = build.build_synthetic(data_dir, synthetic_records, seed=0, preprocess=preprocess, kind=wanted.name)
    return dataset.load(path)
