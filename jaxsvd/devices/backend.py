"""Whether JAX can compute at all, asked before any work is done."""

import os

from jaxsvd.runtime.errors import UserError


def require_backend() -> None:
    """Start JAX's backend.

    Raises:
        UserError: the platform that ``JAX_PLATFORMS`` names is not there.
    """
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS")
        setting = f"JAX_PLATFORMS={wanted}: " if wanted else ""
        raise UserError(
            f"{setting}JAX finds no such device ({error}); unset JAX_PLATFORMS to use what is "
            "there, or install the device's plugin (jaxsvd[cuda], jaxsvd[tpu])"
        ) from None
