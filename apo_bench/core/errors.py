"""The errors that apo-bench raises for a cause the user can change: one root, named children.

Each message is one line: where (file, line or key), what was found, what was expected, what to do.
"""


class ApoBenchError(Exception):
    """Root of all errors that are the input's fault; shown without a traceback."""


class ConfigError(ApoBenchError):
    """A key of params.yaml is unknown, mistyped or out of range."""


class DataError(ApoBenchError):
    """A data file is missing, empty or has a broken line."""


class MissingInputError(ApoBenchError):
    """The output of an earlier stage that this stage reads is not there."""


class ModelError(ApoBenchError):
    """A model or tokenizer cannot be used: no pad token, non-finite loss, wrong architecture."""


class EngineError(ApoBenchError):
    """An engine that work was to run in is not installed, cannot be spread as asked, ran out of memory or died; a host died."""


class OutputError(ApoBenchError):
    """An output could not be written, for instance because the disk is full."""


class ServerError(ApoBenchError):
    """A model behind a server cannot be asked: it refuses, gives answers that cannot be used, or would cost more than the budget."""


class ComparabilityError(ApoBenchError):
    """Arms differ in more than method and reward model, or there is no such arm to compare."""


class NotTheWriter(Exception):
    """Raised where a rank that must not write begins to: its part of the stage is done. No error."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch or Python says that memory ran out."""
    import torch  # imported by whatever ran out of memory, but not by every stage

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)  # the latter on CPUs
