"""Which repository of the Hub something goes to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lightning_invariant.errors import HubError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"(?!.*(--|\.\.|\.git$))[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
"""Names of users and repositories, as the Hub takes them."""


@dataclass(frozen=True)
class Target:
    """A repository, and how it is written to.

    Args:
        repo_id: "user/name" or "organisation/name".
        revision: Branch; the main branch if None. One that does not exist yet is made.
        create_pr: Open a pull request instead of committing; later exports of a run go to the same one.
        private: Whether a repository that does not exist yet is made private; None leaves that to the Hub.
        replace: Whether an encoder that measured better may be replaced.

    Raises:
        HubError: No name of a repository or branch that could be committed to.
    """

    repo_id: str
    revision: str | None = None
    create_pr: bool = False
    private: bool | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        parts = self.repo_id.split("/") if isinstance(self.repo_id, str) else []
        if len(parts) != 2 or not all(_NAME.fullmatch(part) and len(part) <= 96 for part in parts):
            raise HubError(
                f"Expected a repository 'user/name' but got {self.repo_id!r}; letters, digits, '-', '_' and '.' may be "
                "used, neither '-' nor '.' nor '.git' at an end, nor '--' or '..'."
            )
        if self.revision is not None and _COMMIT.fullmatch(self.revision):
            raise HubError(f"Expected a branch but got the commit {self.revision}; a commit cannot be added to.")
        if self.create_pr and self.revision not in (None, "main"):
            raise HubError(
                f"Expected a pull request against the main branch but got revision={self.revision!r}; "
                "leave out either create_pr or revision."
            )

    def __str__(self) -> str:
        return self.repo_id + (f"@{self.revision}" if self.revision else "") + (" (pull request)" * self.create_pr)
