"""The hub: accounts and their tokens, and the history of each repository.

Commits of the versions that are there are made afterwards, because only their bytes say what git
calls them. Going back loses accounts and history; versions stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    *("name_grams", "hub_tags", "hub_listings", "uploads", "commit_tags", "branches", "commits"),
    *("tree_files", "trees", "token_repositories", "former_names", "secrets", "tokens", "members"),
)
LISTED = tuple(
    ("kind", whose, order)
    for whose in ("visibility", "account_id")
    for order in ("commit_id", "repository_id", "downloads")
)


def column(name: str, type_: sa.types.TypeEngine, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, type_, autoincrement=False, nullable=nullable)


def key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def of(table: str, name: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([name], [f"{other}.id"], name=op.f(f"fk_{table}_{name}"))


def digest_check(table: str, name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(
        f"length({name}) = 64 AND {name} = lower({name})", name=op.f(f"ck_{table}_{name}")
    )


def index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def upgrade() -> None:
    make_accounts()
    with op.batch_alter_table("repositories") as batch:
        batch.alter_column("folded", type_=sa.String(208), existing_type=sa.String(193))
        batch.add_column(sa.Column("kind", sa.String(16), server_default="model", nullable=False))
        batch.add_column(sa.Column("account_id", sa.Integer(), nullable=True))
        batch.add_column(
            sa.Column("visibility", sa.String(16), server_default="private", nullable=False)
        )
        batch.create_foreign_key(
            op.f("fk_repositories_account_id"), "accounts", ["account_id"], ["id"]
        )
    index("repositories", "account_id")
    op.create_table(
        "former_names",
        column("folded", sa.String(208)),
        column("repository_id", sa.Integer()),
        of("former_names", "repository_id", "repositories"),
        key("former_names", "folded"),
    )
    index("former_names", "repository_id")
    op.create_table(
        "token_repositories",
        column("token_id", sa.Integer()),
        column("repository_id", sa.Integer()),
        of("token_repositories", "token_id", "tokens"),
        of("token_repositories", "repository_id", "repositories"),
        key("token_repositories", "token_id", "repository_id"),
    )
    index("token_repositories", "repository_id")
    make_history()
    make_listings()


def make_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer(), nullable=False),
        column("name", sa.String(96)),
        column("folded", sa.String(96)),
        column("kind", sa.String(16)),
        column("admin", sa.Boolean()),
        column("password", sa.String(512), nullable=True),
        column("created_at", sa.DateTime()),
        column("deleted_at", sa.DateTime(), nullable=True),
        key("accounts", "id"),
        unique("accounts", "folded"),
    )
    op.create_table(
        "members",
        column("organisation_id", sa.Integer()),
        column("user_id", sa.Integer()),
        column("role", sa.String(16)),
        of("members", "organisation_id", "accounts"),
        of("members", "user_id", "accounts"),
        key("members", "organisation_id", "user_id"),
    )
    index("members", "user_id")
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        column("account_id", sa.Integer()),
        column("name", sa.String(96)),
        column("hash", sa.String(64)),
        column("hint", sa.String(32)),
        column("scope", sa.String(16)),
        column("created_at", sa.DateTime()),
        column("expires_at", sa.DateTime(), nullable=True),
        column("last_used_at", sa.DateTime(), nullable=True),
        digest_check("tokens", "hash"),
        of("tokens", "account_id", "accounts"),
        key("tokens", "id"),
        unique("tokens", "account_id", "name"),
        unique("tokens", "hash"),
    )
    op.create_table(
        "secrets",
        column("name", sa.String(48)),
        column("value", sa.Text()),
        key("secrets", "name"),
    )


def make_history() -> None:
    op.create_table(
        "trees",
        sa.Column("id", sa.Integer(), nullable=False),
        column("digest", sa.String(64)),
        column("oid", sa.String(40)),
        column("files", sa.Integer()),
        column("size", sa.BigInteger()),
        digest_check("trees", "digest"),
        key("trees", "id"),
        unique("trees", "digest"),
    )
    op.create_table(
        "tree_files",
        column("tree_id", sa.Integer()),
        column("path", sa.String(1024)),
        column("sha256", sa.String(64)),
        column("size", sa.BigInteger()),
        column("oid", sa.String(40)),
        column("large", sa.Boolean()),
        digest_check("tree_files", "sha256"),
        sa.CheckConstraint("size >= 0", name=op.f("ck_tree_files_size")),
        of("tree_files", "tree_id", "trees"),
        key("tree_files", "tree_id", "path"),
    )
    index("tree_files", "sha256")
    op.create_table(
        "commits",
        sa.Column("id", sa.Integer(), nullable=False),
        column("repository_id", sa.Integer()),
        column("oid", sa.String(40)),
        column("tree_id", sa.Integer()),
        column("parent_id", sa.Integer(), nullable=True),
        column("author", sa.String(256)),
        column("message", sa.Text()),
        column("created_at", sa.DateTime()),
        column("revision_id", sa.Integer(), nullable=True),
        column("reason", sa.Text(), nullable=True),
        of("commits", "repository_id", "repositories"),
        of("commits", "tree_id", "trees"),
        of("commits", "parent_id", "commits"),
        of("commits", "revision_id", "revisions"),
        key("commits", "id"),
        unique("commits", "repository_id", "oid"),
    )
    for name in ("tree_id", "parent_id", "revision_id"):
        index("commits", name)
    for table in ("branches", "commit_tags"):
        more = [column("message", sa.Text(), nullable=True), column("created_at", sa.DateTime())]
        op.create_table(
            table,
            column("repository_id", sa.Integer()),
            column("name", sa.String(244)),
            column("commit_id", sa.Integer()),
            *(more if table == "commit_tags" else ()),
            of(table, "repository_id", "repositories"),
            of(table, "commit_id", "commits"),
            key(table, "repository_id", "name"),
        )
        index(table, "commit_id")
    op.create_table(
        "uploads",
        column("account_id", sa.Integer()),
        column("sha256", sa.String(64)),
        column("size", sa.BigInteger()),
        column("uploaded_at", sa.DateTime()),
        digest_check("uploads", "sha256"),
        of("uploads", "account_id", "accounts"),
        key("uploads", "account_id", "sha256"),
    )
    for name in ("sha256", "uploaded_at"):
        index("uploads", name)


def make_listings() -> None:
    op.create_table(
        "hub_listings",
        column("repository_id", sa.Integer()),
        column("kind", sa.String(16)),
        column("account_id", sa.Integer(), nullable=True),
        column("visibility", sa.String(16)),
        column("commit_id", sa.Integer()),
        column("library", sa.String(256), nullable=True),
        column("pipeline_tag", sa.String(256), nullable=True),
        column("card", sa.Text()),
        column("downloads", sa.BigInteger()),
        of("hub_listings", "repository_id", "repositories"),
        of("hub_listings", "account_id", "accounts"),
        of("hub_listings", "commit_id", "commits"),
        key("hub_listings", "repository_id"),
    )
    index("hub_listings", "commit_id")
    for columns in LISTED:
        index("hub_listings", *columns)
    op.create_table(
        "hub_tags",
        column("repository_id", sa.Integer()),
        column("tag", sa.String(512)),
        of("hub_tags", "repository_id", "repositories"),
        key("hub_tags", "repository_id", "tag"),
    )
    index("hub_tags", "tag", "repository_id")
    op.create_table(
        "name_grams",
        column("gram", sa.String(3)),
        column("repository_id", sa.Integer()),
        of("name_grams", "repository_id", "repositories"),
        key("name_grams", "gram", "repository_id"),
    )
    index("name_grams", "repository_id")


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.drop_index(op.f("ix_repositories_account_id"), "repositories")
    others = "FROM repositories WHERE kind <> 'model'"
    op.execute(f"DELETE FROM downloads WHERE repository_id IN (SELECT id {others})")
    op.execute(f"DELETE {others}")
    with op.batch_alter_table("repositories") as batch:
        batch.drop_constraint(op.f("fk_repositories_account_id"), type_="foreignkey")
        for name in ("visibility", "account_id", "kind"):
            batch.drop_column(name)
        batch.alter_column("folded", type_=sa.String(193), existing_type=sa.String(208))
    op.drop_table("accounts")
