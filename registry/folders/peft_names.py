"""The names of tensors in PEFT's files, and the parts of them that wrappers of a model add.

A tensor is named by its path in the trained model, after ``base_model.model.``. A model that was
wrapped when it was saved has the wrapper in each path: ``_orig_mod`` of torch.compile, ``module``
of DataParallel. A module that PEFT trains as a whole is ``NAME.modules_to_save.default`` inside.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

PREFIX = "base_model.model."
"""The start of the names in PEFT's files."""

_WRAPPERS = re.compile(r"(?<![^.])_orig_mod\.|^module\.|(?<=\.)modules_to_save\.[^.]+\.")
# The names of heads, or of their first parts, in models of transformers.
_HEAD_MODULES = (
    *("classifier", "score", "qa_outputs", "lm_head", "cls", "head", "pre_classifier"),
    *("vocab_transform", "vocab_projector", "classification_head", "generator_predictions"),
    *("discriminator_predictions", "generator_lm_head", "lm_predictions"),
)
_OUTLETS = ("pooler", "layernorm", "norm", "final_norm", "ln_f")
"""The names of modules after the layers of a backbone; if trained, they are part of the head."""
# The modules that PEFT trains and saves as a whole for a task type, if the model has them.
_HEADS_OF_TASKS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
_WITHOUT_MODULES = ("ADAPTION_PROMPT", "TRAINABLE_TOKENS", "XLORA")
"""The methods of PEFT that have no option for such modules."""
KEPT = {
    "MULTITASK_PROMPT_TUNING": "it needs the number of a task with each row",
    "POLY": "it needs the number of a task with each row",
    "XLORA": "it mixes adapters that lie in other folders",
}
"""The methods of PEFT that hubkit keeps but does not run, and the reason."""
# The names of lists of layers, and of modules beside them, in any architecture; the part before is
# the backbone's name.
_PARTS = re.compile(
    r"^(?:(.+?)\.)??(?:"
    r"((?:encoder|decoder)\.(?:layer|layers|block)|transformer\.layer|layers|h)\.\d+\."
    r"|(?:pooler|embeddings)\.|embeddings_project$)"
)


def plain_name(tensor: str) -> str:
    """Return the name that PEFT would give a tensor of the model without wrappers."""
    prefix = PREFIX if tensor.startswith(PREFIX) else ""
    return prefix + _WRAPPERS.sub("", tensor.removeprefix(prefix))


def in_head(path: str, prefix: str = "") -> bool:
    """Whether a module or a tensor is of the head.

    Args:
        path: Its path inside the trained model.
        prefix: The prefix of the backbone's own paths there; what lies beside the backbone is the
            head, whatever it is called: DeBERTa's pooler.
    """
    first = path.partition(".")[0]
    return first in _HEAD_MODULES or (prefix != "" and first != prefix.partition(".")[0])


def backbone_prefix(paths: Iterable[str]) -> str | None:
    """Return the prefix of paths inside the trained model before the backbone's own.

    It is ``bert.``, or empty for a model without a head; None if no path shows it.
    """
    prefixes = Counter(match[1] or "" for path in paths if (match := _PARTS.match(path)))
    [(prefix, _)] = prefixes.most_common(1) or [(None, 0)]
    return f"{prefix}." if prefix else prefix


def head_module(path: str, prefix: str) -> str | None:
    """Return the module of the head that a tensor is of, such as ``classifier`` or ``pooler``.

    Args:
        path: The path of the tensor inside the trained model.
        prefix: The prefix of the backbone's own paths there.

    Returns:
        None for a part of the base model.
    """
    if in_head(path, prefix):
        return path.partition(".")[0]
    inside = path.removeprefix(prefix).partition(".")[0]
    return inside if path.startswith(prefix) and inside in _OUTLETS else None


def task_of(config: Mapping[str, Any]) -> str | None:
    """Return PEFT's task type of an adapter, in any case, in the file or as Python prints it."""
    task = config.get("task_type")
    return task.removeprefix("TaskType.").upper() if isinstance(task, str) else None


def saved_modules(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ends of the paths of modules trained and saved as a whole beside the adapter.

    Args:
        config: The content of ``adapter_config.json``; its ``modules_to_save`` is names or null.
    """
    named = tuple(config.get("modules_to_save") or ())
    if config.get("peft_type") in _WITHOUT_MODULES:
        return named
    return tuple(dict.fromkeys(named + _HEADS_OF_TASKS.get(task_of(config) or "", ())))


def is_saved(module: str, paths: list[str]) -> bool:
    """Whether tensors at some of `paths` are those of a module that ``modules_to_save`` names.

    As PEFT does, by the end of the path of the module.
    """
    return any(
        path[:end].endswith(module)
        for path in paths
        for end, character in enumerate(path)
        if character == "."
    )
