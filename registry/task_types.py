"""THE table of task types, with their names in hubkit, the Hub, PEFT, AdapterHub, transformers.

It has only names. ``hubkit/tasks`` has a file for each task type.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskNames:
    """The names of one task type.

    Attributes:
        name: Its name in manifests and on the command line.
        peft: ``task_type`` in PEFT's ``adapter_config.json``; None if PEFT has no such type.
        heads: The values of ``head_type`` in AdapterHub's ``head_config.json`` for this type.
        class_endings: The endings of transformers' model classes with such a head.
        auto_class: The auto class that loads a base model with such a head.
        classes: Whether each output of the head is for a label.
        pretrained_head: Whether base models come with all that the task needs, which stays as it
            is: the head of a language model, or no head at all.
        pipeline_tag: The Hub's name, if it differs from `name`.
    """

    name: str
    peft: str | None
    heads: tuple[str, ...]
    class_endings: tuple[str, ...]
    auto_class: str
    classes: bool = False
    pretrained_head: bool = False
    pipeline_tag: str | None = None

    @property
    def hub(self) -> str:
        """The Hub's name: the ``pipeline_tag`` of a model card."""
        return self.pipeline_tag or self.name


# If two rows share a foreign name, it means the first.
_ROWS = (
    TaskNames(
        "text-classification",
        peft="SEQ_CLS",
        heads=("classification", "multilabel_classification"),
        class_endings=("ForSequenceClassification",),
        auto_class="AutoModelForSequenceClassification",
        classes=True,
    ),
    # A classification head with a single output gives a number.
    TaskNames(
        "text-regression",
        peft="SEQ_CLS",
        heads=("classification",),
        class_endings=("ForSequenceClassification",),
        auto_class="AutoModelForSequenceClassification",
        pipeline_tag="text-classification",
    ),
    TaskNames(
        "token-classification",
        peft="TOKEN_CLS",
        heads=("tagging",),
        class_endings=("ForTokenClassification",),
        auto_class="AutoModelForTokenClassification",
        classes=True,
    ),
    TaskNames(
        "question-answering",
        peft="QUESTION_ANS",
        heads=("question_answering",),
        class_endings=("ForQuestionAnswering", "ForQuestionAnsweringSimple"),
        auto_class="AutoModelForQuestionAnswering",
    ),
    TaskNames(
        "multiple-choice",
        peft=None,
        heads=("multiple_choice",),
        class_endings=("ForMultipleChoice",),
        auto_class="AutoModelForMultipleChoice",
    ),
    TaskNames(
        "text-generation",
        peft="CAUSAL_LM",
        heads=("causal_lm",),
        class_endings=("ForCausalLM", "LMHeadModel"),
        auto_class="AutoModelForCausalLM",
        pretrained_head=True,
    ),
    TaskNames(
        "fill-mask",
        peft=None,
        heads=("masked_lm",),
        class_endings=("ForMaskedLM",),
        auto_class="AutoModelForMaskedLM",
        pretrained_head=True,
    ),
    TaskNames(
        "text2text-generation",
        peft="SEQ_2_SEQ_LM",
        heads=("seq2seq_lm",),
        class_endings=("ForConditionalGeneration", "MTModel"),
        auto_class="AutoModelForSeq2SeqLM",
        pretrained_head=True,
    ),
    TaskNames(
        "translation",
        peft="SEQ_2_SEQ_LM",
        heads=("seq2seq_lm",),
        class_endings=("ForConditionalGeneration", "MTModel"),
        auto_class="AutoModelForSeq2SeqLM",
        pretrained_head=True,
    ),
    TaskNames(
        "summarization",
        peft="SEQ_2_SEQ_LM",
        heads=("seq2seq_lm",),
        class_endings=("ForConditionalGeneration",),
        auto_class="AutoModelForSeq2SeqLM",
        pretrained_head=True,
    ),
    TaskNames(
        "ranking",
        peft="SEQ_CLS",
        heads=("classification",),
        class_endings=("ForSequenceClassification",),
        auto_class="AutoModelForSequenceClassification",
        pipeline_tag="text-ranking",
    ),
    TaskNames(
        "feature-extraction",
        peft="FEATURE_EXTRACTION",
        heads=(),
        class_endings=(),
        auto_class="AutoModel",
        pretrained_head=True,
    ),
    TaskNames(
        "image-classification",
        peft=None,
        heads=("image_classification",),
        class_endings=("ForImageClassification",),
        auto_class="AutoModelForImageClassification",
        classes=True,
    ),
)

TASK_NAMES = {row.name: row for row in _ROWS}


def of_class(class_name: str | None) -> TaskNames | None:
    """The task type of a model class, such as ``BertForTokenClassification``; None if unknown."""
    return _first(row for row in _ROWS if (class_name or "").endswith(row.class_endings))


def of_head(head_type: str | None) -> TaskNames | None:
    """The task type of an AdapterHub head type, such as ``tagging``; None if unknown."""
    return _first(row for row in _ROWS if head_type in row.heads)


def of_peft(task_type: str | None) -> TaskNames | None:
    """The task type of a PEFT task type, such as ``TOKEN_CLS``; None if unknown."""
    return _first(row for row in _ROWS if task_type is not None and task_type == row.peft)


def with_outputs(task_type: str | None, outputs: int | None) -> str | None:
    """What a head of `task_type` is for, given how many outputs it has.

    transformers and AdapterHub both make a number of a classification head with one output.
    """
    alone = outputs == 1 and task_type == "text-classification"
    return "text-regression" if alone else task_type


def _first(rows: Iterable[TaskNames]) -> TaskNames | None:
    return next(iter(rows), None)
