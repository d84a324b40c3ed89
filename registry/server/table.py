"""Every route of the hub, and what it needs: the whole protocol on one page."""

from registry.accounts.access import Need
from registry.server.pages import (
    accounts,
    bases,
    commits,
    compare,
    front,
    leaderboards,
    lineage,
    login,
    repository,
    static,
)
from registry.server.pages import files as files_of
from registry.server.protocol import (
    absent,
    account,
    files,
    lfs,
    listing,
    reading,
    refs,
    repositories,
    versions,
    writing,
    xet,
)
from registry.server.protocol.absent import refuse
from registry.server.routes import SMALL, Open, Route

_REPOSITORY = "/api/{kinds}/{owner}/{name}"
_PLACE = "/{prefix}/{owner}/{name}"
_LFS = "/{prefix}/{owner}/{name}.git/info/lfs/objects"

_ACCOUNTS = (
    Route("GET", "/api/whoami-v2", Need.SIGNED_IN, account.whoami),
    Route("POST", "/api/validate-yaml", Open.NOTHING, account.validate_yaml, SMALL),
    Route("GET", "/api/users/{account}/overview", Need.READ, account.user),
    Route("GET", "/api/users/{account}/likes", Need.READ, account.nothing),
    Route("GET", "/api/organizations/{account}/overview", Need.READ, account.organisation),
    Route("GET", "/api/organizations/{account}/members", Need.READ, account.members),
    Route("GET", "/api/settings/repositories", Need.SIGNED_IN, listing.own_repositories),
    Route(
        "GET",
        "/api/organizations/{account}/settings/repositories",
        Need.SIGNED_IN,
        listing.organisation_repositories,
    ),
)

_REPOSITORIES = (
    Route("POST", "/api/repos/create", Need.WRITE, repositories.create, SMALL, named=True),
    Route("DELETE", "/api/repos/delete", Need.ADMIN, repositories.delete, SMALL, named=True),
    Route("POST", "/api/repos/move", Need.ADMIN, repositories.move, SMALL, named=True),
    Route("PUT", f"{_REPOSITORY}/settings", Need.ADMIN, repositories.change_settings, SMALL),
    Route("GET", f"{_REPOSITORY}/auth-check", Need.READ, repositories.allowed),
    Route("GET", f"{_REPOSITORY}/auth-check/write", Need.WRITE, repositories.allowed),
    Route("POST", f"{_REPOSITORY}/duplicate", Need.READ, repositories.duplicate, SMALL),
)

_READING = (
    Route("GET", "/api/{kinds}", Need.READ, listing.list_repositories),
    Route("GET", "/api/models-tags-by-type", Need.READ, account.no_tags),
    Route("GET", "/api/datasets-tags-by-type", Need.READ, account.no_tags),
    Route("GET", _REPOSITORY, Need.READ, reading.info),
    Route("GET", f"{_REPOSITORY}/revision/{{revision}}", Need.READ, reading.info),
    Route("GET", f"{_REPOSITORY}/tree/{{revision}}", Need.READ, reading.tree),
    Route("GET", f"{_REPOSITORY}/tree/{{revision}}/{{path...}}", Need.READ, reading.tree),
    Route("POST", f"{_REPOSITORY}/paths-info/{{revision}}", Need.READ, reading.paths, SMALL),
    Route("GET", f"{_REPOSITORY}/commits/{{revision}}", Need.READ, reading.commits),
    Route("GET", f"{_REPOSITORY}/refs", Need.READ, refs.list_refs),
    Route("GET", f"{_REPOSITORY}/versions/{{number}}/{{path...}}", Need.READ, versions.get_file),
    Route("GET", f"{_REPOSITORY}/lfs-files", Need.READ, reading.large_files),
    Route("GET", f"{_REPOSITORY}/likers", Need.READ, account.nothing),
    Route(
        "HEAD",
        "/{prefix}/{owner}/{name}/resolve/{revision}/{path...}",
        Need.READ,
        files.head_file,
        at_once=True,
    ),
    Route(
        "GET",
        "/{prefix}/{owner}/{name}/resolve/{revision}/{path...}",
        Need.READ,
        files.get_file,
        at_once=True,
    ),
)

_WRITING = (
    Route("POST", f"{_REPOSITORY}/preupload/{{revision}}", Need.WRITE, writing.preupload, SMALL),
    Route(
        "POST",
        f"{_REPOSITORY}/commit/{{revision}}",
        Need.WRITE,
        writing.commit,
        writing.MOST_COMMIT_BYTES,
    ),
    Route("POST", f"{_REPOSITORY}/branch/{{branch}}", Need.WRITE, refs.create_branch, SMALL),
    Route("DELETE", f"{_REPOSITORY}/branch/{{branch}}", Need.WRITE, refs.delete_branch),
    Route("POST", f"{_REPOSITORY}/tag/{{revision}}", Need.WRITE, refs.create_tag, SMALL),
    Route("DELETE", f"{_REPOSITORY}/tag/{{tag}}", Need.WRITE, refs.delete_tag),
    Route("POST", f"{_REPOSITORY}/super-squash/{{branch}}", Need.WRITE, refs.squash, SMALL),
    Route("POST", f"{_LFS}/batch", Need.WRITE, lfs.batch, SMALL),
    Route("POST", f"{_LFS}/verify", Need.WRITE, lfs.verify, SMALL),
    Route("PUT", "/_lfs/{signature}", Open.SIGNATURE, lfs.take),
    Route("POST", "/_lfs/{signature}", Open.SIGNATURE, lfs.complete, SMALL),
)

_XET = (
    Route("GET", f"{_REPOSITORY}/xet-write-token/{{revision}}", Need.WRITE, xet.give_pass),
    Route("POST", "/_xet/{shelf}/v1/xorbs/{namespace}/{xorb}", Open.SIGNATURE, xet.take_xorb),
    Route("POST", "/_xet/{shelf}/v2/shards", Open.SIGNATURE, xet.take_shard),
    Route("POST", "/_xet/{shelf}/v1/shards", Open.SIGNATURE, xet.take_shard_silently),
    Route("POST", "/_xet/{shelf}/shards", Open.SIGNATURE, xet.take_shard_silently),
)

PAGES = (
    Route("GET", "/", Need.READ, front.models, page=True),
    Route("GET", "/datasets", Need.READ, front.datasets, page=True),
    Route("GET", "/spaces", Need.READ, front.spaces, page=True),
    Route("GET", "/bases", Need.READ, bases.bases, page=True),
    Route("GET", "/bases/{base...}", Need.READ, bases.base, page=True),
    Route("GET", "/leaderboards", Need.READ, leaderboards.leaderboards, page=True),
    Route("GET", "/{account}", Need.READ, accounts.account, page=True),
    Route("GET", "/login", Need.SIGNED_IN, login.login, page=True),
    Route("GET", "/compare", Need.READ, compare.show, page=True),
    Route("GET", _PLACE, Need.READ, repository.show, page=True),
    Route("GET", f"{_PLACE}/tree/{{revision}}", Need.READ, files_of.tree, page=True),
    Route("GET", f"{_PLACE}/tree/{{revision}}/{{path...}}", Need.READ, files_of.tree, page=True),
    Route("GET", f"{_PLACE}/blob/{{revision}}/{{path...}}", Need.READ, files_of.blob, page=True),
    Route("GET", f"{_PLACE}/commits/{{revision}}", Need.READ, commits.commits, page=True),
    Route("GET", f"{_PLACE}/commit/{{revision}}", Need.READ, commits.commit, page=True),
    Route("GET", f"{_PLACE}/lineage", Need.READ, lineage.show, page=True),
    Route("GET", "/static/{file}", Open.NOTHING, static.static),
)
"""What people read."""

_NO_LOGIN = refuse("page to log in on: use `hf auth login --token`, with a token of this hub")
_NO_GIT = refuse("git over HTTP: use `hf upload` and `hf download`, or huggingface_hub")
_VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

ABSENT = (
    Route(
        "GET",
        f"{_REPOSITORY}/xet-read-token/{{revision}}",
        Need.READ,
        refuse("downloads by Xet: fetch files from /resolve"),
    ),
    Route(
        "POST",
        f"{_REPOSITORY}/lfs-files/batch",
        Need.WRITE,
        refuse("way to remove files from old commits: squash the branch, then they go"),
    ),
    Route(
        "POST",
        f"{_REPOSITORY}/lfs-files/duplicate",
        Need.WRITE,
        refuse("copies of large files between repositories: duplicate the repository"),
    ),
    Route(
        "GET",
        f"{_REPOSITORY}/safetensors-metadata/{{path...}}",
        Need.READ,
        refuse("reading of headers: fetch the start of the file from /resolve"),
    ),
    Route("POST", f"{_REPOSITORY}/like", Need.READ, refuse("likes")),
    Route("DELETE", f"{_REPOSITORY}/like", Need.READ, refuse("likes")),
    Route("POST", "/oauth/device", Open.NOTHING, _NO_LOGIN),
    Route("POST", "/oauth/token", Open.NOTHING, _NO_LOGIN),
    Route("GET", "/{prefix}/{owner}/{name}.git/info/refs", Need.READ, _NO_GIT),
    Route("GET", "/{prefix}/{owner}/{name}/info/refs", Need.READ, _NO_GIT),
    *(
        Route(verb, f"/api/{path}{more}", Open.NOTHING, absent.feature)
        for verb in _VERBS
        for path in absent.FEATURES
        for more in ("", "/{more...}")
    ),
    *(
        Route(
            verb,
            f"{_REPOSITORY}/discussions{more}",
            Need.READ,
            refuse("discussions and pull requests"),
        )
        for verb in ("GET", "POST")
        for more in ("", "/{more...}")
    ),
    *(
        Route(
            verb,
            f"{_REPOSITORY}/{what}",
            Need.READ,
            refuse("way to run spaces: it keeps their files"),
        )
        for verb in ("GET", "POST", "DELETE")
        for what in ("runtime", "secrets", "variables", "hardware", "storage", "pause", "restart")
    ),
    # What the Hugging Face Hub has without an owner, such as `gpt2`.
    *(
        Route("GET", f"/api/{kind}/{{name}}", Need.READ, absent.not_hosted)
        for kind in ("models", "datasets")
    ),
    *(
        Route(verb, pattern, Need.READ, absent.not_hosted, yields=True)
        for verb, pattern in (
            ("GET", "/api/models/{name}/revision/{revision}"),
            ("HEAD", "/{prefix}/{name}/resolve/{revision}/{path...}"),
            ("GET", "/{prefix}/{name}/resolve/{revision}/{path...}"),
        )
    ),
)
"""Requests of clients that this hub refuses in words."""

SERVED = (*_ACCOUNTS, *_REPOSITORIES, *_READING, *_WRITING, *_XET, *PAGES)
"""What the hub does."""

ROUTES = (*SERVED, *ABSENT)
"""All of them."""
