"""ECG knowledge distillation in JAX. `lrhnet_jax.load` gives a trained network that answers for recordings."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrhnet_jax.deploy.model import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # late: it imports JAX, which what reads and builds recordings has no need of
        from lrhnet_jax.deploy.model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
