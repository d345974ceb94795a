"""Convolutions, and the first room to compute: it refuses a jaxlib that computes wrong numbers.

jaxlib 0.10.2 does so on CPUs, for some small matrix-vector products that are vectorised and summed in one jitted
program (github.com/jax-ml/jax/issues/39103); 0.10.1, 0.11.2 and 0.12 are right. tests/kernels/test_jaxlib.py has the
pattern.
"""

import importlib.metadata
import os

from lrhnet_jax.errors import UserError

WRONG = "0.10.2"
CURE = "--xla_cpu_experimental_ynn_fusion_type=-reduce"  # of XLA_FLAGS


def refuse_wrong_jaxlib() -> None:
    """Raises UserError for jaxlib 0.10.2, unless XLA is told to leave out what is wrong in it. Does not import JAX."""
    if importlib.metadata.version("jaxlib") == WRONG and CURE not in os.environ.get("XLA_FLAGS", "").split():
        raise UserError(
            f"jaxlib {WRONG} computes wrong numbers on CPUs (jax issue 39103): "
            f"pip install 'jax!={WRONG}' 'jaxlib!={WRONG}', or set XLA_FLAGS={CURE}"
        )


refuse_wrong_jaxlib()
