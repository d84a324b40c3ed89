"""The history of repositories: commits, each with a tree of files, and what names them."""
