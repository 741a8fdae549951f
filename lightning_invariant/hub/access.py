"""Whether a repository can be written to, asked before a training spends hours on what could not be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import HubError
from lightning_invariant.hub.client import SlowHubError, hub_client, step
from lightning_invariant.hub.retries import REFUSED, in_words, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfApi

    from lightning_invariant.hub.target import Target


def check_access(target: Target) -> str | None:
    """Ask the Hub who we are, and whether we may write; a repository or branch that is missing is made.

    Returns:
        None if it can be written to; why it is not known, in words, if the Hub cannot be reached or cannot answer.

    Raises:
        HubError: It cannot be written to, or is public where a private one is asked for.
    """
    client, account = hub_client(), {}
    try:
        with step():
            account = client.whoami()
            if ((account.get("auth") or {}).get("accessToken") or {}).get("role") == "read":
                raise HubError(
                    f"Expected a token with write rights to publish to {target} but that of {account.get('name')!r} "
                    "may only read; make one at https://huggingface.co/settings/tokens and run `hf auth login`."
                )
            ensure_repository(client, target)
            client.auth_check(target.repo_id, write=not target.create_pr)
            info = client.model_info(target.repo_id, revision=target.revision)
            if target.private and not info.private:
                raise HubError(
                    f"Expected a private repository but {target.repo_id} exists and is public; make it private in its "
                    "settings, leave private out, or give another name."
                )
    except SlowHubError as error:
        return in_words(error)
    except HubError:
        raise
    except Exception as error:  # the client's errors have several bases
        if status_of(error) in REFUSED or type(error).__name__ == "LocalTokenNotFoundError":
            raise HubError(
                f"Expected to be able to publish to {target} but {in_words(error)}.{_belonging(account)}"
            ) from error
        return in_words(error)
    return None


def ensure_repository(client: HfApi, target: Target) -> None:
    """Make the repository and the branch where they do not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with step():
        try:
            refs = client.list_repo_refs(target.repo_id)
        except RepositoryNotFoundError:
            client.create_repo(target.repo_id, private=target.private, exist_ok=True)
            refs = client.list_repo_refs(target.repo_id)
        branch = target.revision
        if branch is None or branch.startswith("refs/"):
            return
        if any(tag.name == branch for tag in refs.tags):
            raise HubError(f"Expected a branch of {target.repo_id} but {branch!r} is a tag, which cannot be added to.")
        if all(known.name != branch for known in refs.branches):
            client.create_branch(target.repo_id, branch=branch, exist_ok=True)


def _belonging(account: Mapping[str, Any]) -> str:
    """Where the token may write, as a sentence."""
    names = [account.get("name"), *(group.get("name") for group in account.get("orgs") or ())]
    below = " or ".join(f"{name}/..." for name in names if name)
    return f" The token is that of {account.get('name')!r}, who writes to {below}." if below else ""
