"""An experiment: the distillation graph of a config, trained, scored and reported."""

from lrhnet_jax.runtime import project

project.use_own("data_builders")  # a data set that is not built is built on demand, by `data_builders`
