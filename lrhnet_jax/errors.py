"""The one kind of error that a user can mend; the command lines print it without a traceback."""


class UserError(ValueError):
    """Bad input: a config, a path, a data set, a checkpoint. The message names it and the remedy."""


class ConfigError(UserError):
    """A config field, key or value that makes no sense."""


class DataError(UserError):
    """A data set that is missing, broken, or too small for what is asked."""


class CheckpointError(UserError):
    """A folder that does not hold the trained network that is asked for."""
