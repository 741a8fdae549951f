"""The errors that this package raises beyond ValueError and TypeError for plain arguments."""

from __future__ import annotations


class InvariantError(Exception):
    """Base of every error of this package that is not a plain wrong argument.

    Messages often quote files that came from anywhere, so they are made printable.
    """

    def __init__(self, *values: object) -> None:
        super().__init__(*(printable(value) if isinstance(value, str) else value for value in values))


def printable(text: str) -> str:
    r"""Text without what would steer a terminal, reorder its line or not encode: escaped, as in its `repr`.

    Example:
        >>> print(printable(chr(27) + "[2J"))
        \x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class LayerError(InvariantError):
    """The layer to read latents from does not exist, is never called, or gives no usable latent."""


class LatentError(InvariantError, ValueError):
    """A latent does not fit the representation that is said to act on it."""


class ParseError(InvariantError, ValueError):
    """A group or representation string cannot be read.

    Args:
        message: What was expected.
        text: The whole string.
        position: Index of the first character that does not fit.
    """

    def __init__(self, message: str, text: str, position: int) -> None:
        self.text, self.position = text, position
        super().__init__(f"{message}\n    {text}\n    {' ' * position}^")


class GroupError(InvariantError, ValueError):
    """Matrices that are no group, or elements that do not belong to one."""


class BatchError(InvariantError, ValueError):
    """A batch does not hold what is read from it, or batches cannot be joined."""


class ActionError(InvariantError, ValueError):
    """It is not known how a group transforms an input, or what is said about it does not fit."""


class GuaranteeError(InvariantError, AssertionError):
    """A measurement refutes what a projection claims."""


class GraphError(InvariantError):
    """A network cannot be written as a class-free graph, or a graph file is not safe to load."""


class ArtifactError(InvariantError):
    """An artefact directory is missing, damaged, or cannot be written."""


class HubError(InvariantError):
    """The Hub refuses what is asked of it: a name, a token, a right."""
