"""Where 0.1.0 had the error of a user's mistake; it is ``jaxsvd.UserError``."""

from jaxsvd.runtime.errors import UserError as UserError
