import json
from collections.abc import Callable

from click.testing import Result

from registry import Version

Run = Callable[..., Result]
Publish = Callable[..., Version]


def test_lineage_is_two_trees(run: Run, publish: Publish) -> None:
    one, two = publish("one"), publish("two")
    parents = [{"ref": str(v.ref), "digest": v.manifest_digest} for v in (one, two)]
    both = publish("both", kind="fusion", method={"type": "fusion"}, parents=parents)
    top = [{"ref": str(both.ref), "digest": both.manifest_digest}]
    publish("top", kind="stack", method={"type": "stack"}, parents=top)
    assert run("lineage", "both").stdout.splitlines() == [
        "both@1 (fusion)",
        "├── made of",
        "│   ├── one@1 (seq_bn)",
        "│   └── two@1 (seq_bn)",
        "└── used by",
        "    └── top@1 (stack)",
    ]
    document = json.loads(run("lineage", "one", "--json").stdout)
    assert document["made_of"] == []
    assert document["used_by"][0]["ref"] == "both@1"
    assert document["used_by"][0]["relatives"][0]["ref"] == "top@1"
