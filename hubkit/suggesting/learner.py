"""What a linear map learns from, for each way that a task type has labels: vectors, targets, and
its outputs in the form of a head's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from hubkit.tasks.task import Encoded, HeadPlan, Learner, Outputs

_IGNORED = -100
"""The label of a token that learns none."""


class Way(ABC):
    """How the states of features become vectors with a target each. ``d`` is the hidden size."""

    @abstractmethod
    def vectors(self, states: Tensor, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
        """The vectors of each feature of a batch, *shape* ``(own, d)``.

        Args:
            states: The last hidden states, *shape* ``(rows of the pass, tokens, d)``.
            inputs: The batch, with its labels.
        """

    @abstractmethod
    def targets(self, encoded: Encoded, plan: HeadPlan) -> np.ndarray:
        """What is learned of each vector, *shape* ``(vectors, outputs)``: -1 or 1, or a number."""

    @abstractmethod
    def outputs(self, predicted: np.ndarray, encoded: Encoded) -> Outputs:
        """What was predicted of each vector, as the outputs of a head."""


class _Rows(Way):
    """A vector a feature: the mean of the states of its tokens."""

    def vectors(self, states: Tensor, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
        return list(_means(states, inputs)[:, None])

    def targets(self, encoded: Encoded, plan: HeadPlan) -> np.ndarray:
        labels = np.array(encoded.features["labels"])
        if plan.labels and labels.ndim == 1:
            return _signs(len(plan.labels), labels)
        found = labels.reshape(len(labels), -1).astype(np.float64)
        return 2 * found - 1 if plan.labels else found

    def outputs(self, predicted: np.ndarray, encoded: Encoded) -> Outputs:
        return (predicted,)


class _Tokens(Way):
    """A vector for each token that has a label."""

    def vectors(self, states: Tensor, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
        learned = inputs["labels"] != _IGNORED
        return [one[own].cpu().numpy() for one, own in zip(states, learned, strict=True)]

    def targets(self, encoded: Encoded, plan: HeadPlan) -> np.ndarray:
        labels = np.concatenate([np.array(one, np.int64) for one in encoded.features["labels"]])
        return _signs(len(plan.labels), labels[labels != _IGNORED])

    def outputs(self, predicted: np.ndarray, encoded: Encoded) -> Outputs:
        labels = encoded.features["labels"]
        whole = np.zeros((len(labels), max(map(len, labels)), predicted.shape[1]))
        for row, own in enumerate(labels):
            learned = np.flatnonzero(np.array(own) != _IGNORED)
            whole[row, learned], predicted = np.split(predicted, [len(learned)])
        return (whole,)


class _Choices(Way):
    """A vector for each choice: 1 if it fits, else -1."""

    def vectors(self, states: Tensor, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
        ends = np.cumsum(inputs["sizes"].tolist())[:-1]
        return np.split(_means(states, inputs), ends)

    def targets(self, encoded: Encoded, plan: HeadPlan) -> np.ndarray:
        found = [_signs(n, label) for n, label in zip(*_sizes(encoded), strict=True)]
        return np.concatenate(found)[:, None]

    def outputs(self, predicted: np.ndarray, encoded: Encoded) -> Outputs:
        sizes, _ = _sizes(encoded)
        whole = np.full((len(sizes), max(sizes)), -np.inf)
        for row, own in enumerate(np.split(predicted[:, 0], np.cumsum(sizes)[:-1])):
            whole[row, : len(own)] = own
        return (whole,)


WAYS: Mapping[Learner, Way] = {"rows": _Rows(), "tokens": _Tokens(), "choices": _Choices()}


def _signs(outputs: int, labels: np.ndarray | int) -> np.ndarray:
    """1 at the place of each label, -1 at the others."""
    found: np.ndarray = 2 * np.eye(outputs)[labels] - 1
    return found


def _sizes(encoded: Encoded) -> tuple[list[int], list[int]]:
    """How many choices each feature has, and which one fits."""
    return [len(ids) for ids in encoded.features["input_ids"]], encoded.features["labels"]


def _means(states: Tensor, inputs: Mapping[str, Tensor]) -> np.ndarray:
    """The mean state of each row of a pass, without what fills it up, *shape* ``(rows, d)``."""
    states, mask = states.float(), inputs.get("attention_mask")
    if mask is None:
        found = states.mean(1)
    else:
        weights = mask.unsqueeze(-1).float()
        found = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    array: np.ndarray = found.cpu().numpy()
    return array
