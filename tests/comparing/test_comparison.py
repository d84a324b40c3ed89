from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from hubkit.comparing.comparison import Comparison, best_and_winner, compared
from registry.errors import TrainingError

NAN = float("nan")
KINDS = ("base", "alone", "donor", "mix", "learned mix", "fusion", "control")
WEIGHTS = (0, 10, 10, 20, 22, 80, 80)
FACTS: Mapping[str, Any] = {
    "data": "few.csv#0",
    "folds": 2,
    "seeds": (42,),
    "metric": "accuracy",
    "higher_is_better": True,
    "paired_by": "row",
    "random_donors": "somehow",
}


def of(right: Mapping[str, float], rows: int = 100, **facts: Any) -> Comparison:
    """Of `rows` rows, the first so many are answered right by each contender."""
    units = {}
    for kind in KINDS:
        count = round(right.get(kind, 0.5) * rows)
        units[kind] = [1.0] * count + [0.0] * (rows - count)
    scores = {
        kind: [float(np.mean(half)) for half in np.split(np.array(v), 2)]
        for kind, v in units.items()
    }
    return compared({**FACTS, **facts}, [*zip(KINDS, KINDS, WEIGHTS, strict=True)], scores, units)


def test_a_fusion_that_beats_the_best_single_and_the_control_helps_and_wins() -> None:
    found = of({"fusion": 0.9, "alone": 0.7, "donor": 0.65})
    assert (found.outcome, found.single, found.best, found.winner) == (
        "helps",
        "alone",
        "fusion",
        "fusion",
    )
    assert found.verdict == (
        "Fusing these donors helps: accuracy 0.9000 is better than the adapter alone with 0.7000 "
        "(p < 0.001), and better than the control of random donors with 0.5000 (p < 0.001)."
    )


@pytest.mark.parametrize("other", ["alone", "donor", "control"])
def test_a_fusion_that_is_as_good_as_one_of_them_is_not_shown_to_help(other: str) -> None:
    found = of({"fusion": 0.81, other: 0.8})
    assert found.outcome == "not shown"
    assert found.verdict.startswith("Fusing these donors is not shown to help: accuracy 0.8100 is ")
    assert "not shown to be better than" in found.verdict


@pytest.mark.parametrize("other", ["alone", "donor", "control"])
def test_a_fusion_that_is_worse_than_one_of_them_hurts(other: str) -> None:
    found = of({"fusion": 0.7, other: 0.8})
    assert found.outcome == "hurts"
    assert found.verdict.startswith("Fusing these donors hurts: accuracy 0.7000 is ")
    spelled = {"alone": "the adapter alone", "control": "the control"}.get(other, other)
    assert f"worse than {spelled}" in found.verdict


@pytest.mark.parametrize(("rows", "outcome"), [(5, "not shown"), (6, "helps")])
def test_a_gain_that_the_rows_are_too_few_to_show_is_not_called_a_loss(
    rows: int, outcome: str
) -> None:
    # All rows differ: of 5, McNemar's p is 0.0625 at least, of 6 it is 0.031.
    units = {kind: [float(kind == "fusion")] * rows for kind in KINDS}
    found = compared(FACTS, [*zip(KINDS, KINDS, WEIGHTS, strict=True)], units, units)
    assert found.outcome == outcome
    assert ("not shown to be better than" in found.verdict) == (outcome == "not shown")


@pytest.mark.parametrize(("more", "winner"), [(0, "mix"), (1, "mix"), (2, "fusion")])
def test_the_cheapest_within_a_quarter_of_a_standard_error_of_the_best_wins(
    more: int, winner: str
) -> None:
    # 16 rows only the mix has right, and as many or a few more only the fusion: the difference is
    # 0, 0.17 or 0.34 of its standard error.
    mix = [1.0] * 16 + [0.0] * (16 + more) + [1.0] * (68 - more)
    fusion = [0.0] * 16 + [1.0] * (16 + more) + [1.0] * (68 - more)
    units = {"mix": np.array(mix), "fusion": np.array(fusion)}
    means = {name: float(rows.mean()) for name, rows in units.items()}
    found = best_and_winner(means, {"mix": 20, "fusion": 80}, units)
    assert found == ("fusion" if more else "mix", winner)


def sure(briers: Mapping[str, float], rows: int = 100) -> Comparison:
    """All have half of the rows right, and these mean Brier scores, each with some spread."""
    units = {kind: [1.0, 0.0] * (rows // 2) for kind in KINDS}
    apart = {
        kind: [briers.get(kind, 0.9) + 0.1 * (-1) ** (row // (place + 1)) for row in range(rows)]
        for place, kind in enumerate(KINDS)
    }
    scores = {kind: [0.5, 0.5] for kind in KINDS}
    contenders = [*zip(KINDS, KINDS, WEIGHTS, strict=True)]
    return compared(FACTS, contenders, scores, units, apart)


def test_where_there_are_brier_scores_the_lowest_is_the_best() -> None:
    found = sure({"fusion": 0.4, "donor": 0.5, "base": 0.1, "control": 0.1})
    assert (found.best, found.winner) == ("fusion", "fusion")
    assert found.row("fusion").brier == pytest.approx(0.4, abs=0.02)
    assert found.choice.startswith("The winner is the fusion, the best by its Brier score of 0.4")
    # The mean and the tests are of the metric.
    assert (found.row("fusion").mean, found.outcome) == (0.5, "not shown")
    assert found.columns[4] == "Brier"
    assert [len(row) for row in found.cells] == [len(found.columns)] * len(KINDS)


def test_where_brier_scores_are_as_low_the_cheaper_contender_wins() -> None:
    found = sure({"fusion": 0.4, "mix": 0.4001})
    assert (found.best, found.winner) == ("fusion", "mix")
    assert found.choice == (
        "The winner is the mix, the cheapest within 0.25 standard errors of the fusion, the best "
        f"by the Brier score, with {found.row('fusion').brier:.4f}."
    )


def test_without_brier_scores_no_column_is_for_them() -> None:
    found = of({"fusion": 0.9})
    assert "Brier" not in found.columns
    assert [len(row) for row in found.cells] == [len(found.columns)] * len(KINDS)


def test_neither_the_base_model_nor_the_control_can_win() -> None:
    assert of({"base": 0.9, "control": 0.9, "alone": 0.8}).winner == "alone"


def test_rows_that_are_right_or_wrong_are_tested_by_mcnemar() -> None:
    # 6 rows only the fusion has right: exactly the sign test of 6 of 6.
    found = of({"fusion": 0.56, "alone": 0.5}, rows=100).row("fusion").to_single
    assert found is not None
    assert found.mean == pytest.approx(0.06)
    assert found.p == pytest.approx(binomtest(6, 6).pvalue, abs=0.01)


def test_where_lower_is_better_the_lowest_wins_and_differences_say_how_much_better() -> None:
    found = of(
        {"fusion": 0.2, "alone": 0.6, "donor": 0.7, "mix": 0.8, "learned mix": 0.8, "control": 0.9},
        metric="mae",
        higher_is_better=False,
    )
    assert (found.single, found.winner, found.outcome) == ("alone", "fusion", "helps")
    difference = found.row("fusion").to_single
    assert difference is not None
    assert difference.mean == pytest.approx(0.4)


def test_spread_is_the_standard_deviation_of_the_scores() -> None:
    row = of({"alone": 0.7}).row("alone")
    assert row.scores == (1.0, 0.4)
    assert row.spread == pytest.approx(float(np.std(row.scores, ddof=1)))


def scored(scores: Mapping[str, list[float]], **facts: Any) -> Comparison:
    """Of these scores in folds; the other contenders have 0.1, 0.2 and so on."""
    usual = [0.1 + 0.1 * fold for fold in range(6)]
    units = {kind: scores.get(kind, usual) for kind in KINDS}
    given = {**FACTS, "folds": 6, "metric": "pearson", "paired_by": "fold", **facts}
    return compared(given, [*zip(KINDS, KINDS, WEIGHTS, strict=True)], units, units)


@pytest.mark.parametrize("undefined", [[NAN] * 6, [0.99] * 5 + [NAN]])
@pytest.mark.parametrize("up", [True, False])
def test_a_contender_with_an_undefined_score_never_wins(undefined: list[float], up: bool) -> None:
    low = [-0.9 + 0.01 * fold for fold in range(6)]
    others = dict.fromkeys(KINDS, low)
    found = scored({**others, "fusion": undefined, "alone": undefined}, higher_is_better=up)
    assert found.single == "donor"
    assert found.winner in ("donor", "mix", "learned mix")
    fusion = found.row("fusion")
    assert (fusion.mean, fusion.spread, fusion.to_single, fusion.to_control) == (None,) * 4
    assert found.cells[KINDS.index("fusion")] == ("fusion", "80", "undefined", "", "", "", "", "")
    assert fusion.scores == tuple(None if score != score else score for score in undefined)
    assert found.outcome == "not shown"
    assert found.verdict == (
        "Fusing these donors is not shown to help: the pearson of the fusion is undefined."
    )
    assert Comparison.model_validate_json(found.to_json()) == found


def test_what_the_fusion_cannot_be_compared_with_is_told() -> None:
    high = [0.8 + 0.01 * fold for fold in range(6)]
    found = scored({"fusion": high, "control": [NAN] * 6})
    assert (found.outcome, found.winner) == ("not shown", "fusion")
    assert found.verdict == (
        "Fusing these donors is not shown to help: pearson 0.8250 is better than the adapter alone "
        "with 0.3500 (p = 0.031), and not compared with the control of random donors, of which it "
        "is undefined."
    )
    lost = scored({"fusion": [-one for one in high], "control": [NAN] * 6})
    assert lost.outcome == "hurts"
    alone = scored({"fusion": high, "alone": [NAN] * 6, "donor": [NAN] * 6})
    assert (alone.single, alone.outcome) == ("alone", "not shown")


def test_a_fold_that_tells_nothing_of_anybody_counts_for_nobody() -> None:
    scores = {kind: [0.1, 0.2, 0.3, 0.4, 0.5, NAN] for kind in KINDS}
    scores["fusion"] = [0.6, 0.7, 0.8, 0.9, 0.99, NAN]
    found = scored(scores)
    assert found.row("alone").mean == pytest.approx(0.3)
    assert found.winner == "fusion"
    assert found.left_out == (
        "Of 6 scores of each, 1 is left out: there, the pearson of all contenders is undefined."
    )
    assert found.too_few is not None
    assert "with 5 paired scores" in found.too_few
    assert len(found.sentences) == 4


def test_nothing_wins_where_all_is_undefined() -> None:
    with pytest.raises(TrainingError, match="has a pearson in each fold: training diverged"):
        scored({kind: [NAN] * 6 for kind in KINDS})
    with pytest.raises(TrainingError):
        scored({kind: [NAN] * 6 for kind in KINDS if kind not in ("base", "control")})


def test_rows_that_take_no_part_are_not_paired() -> None:
    units = {kind: [0.0] * 8 + [NAN] * 4 for kind in KINDS}
    units["fusion"] = [1.0] * 8 + [NAN] * 4
    scores = {kind: [float(kind == "fusion")] * 2 for kind in KINDS}
    found = compared(FACTS, [*zip(KINDS, KINDS, WEIGHTS, strict=True)], scores, units)
    difference = found.row("fusion").to_single
    assert difference is not None
    assert difference.mean == 1
    assert difference.p == pytest.approx(binomtest(8, 8).pvalue)
    assert found.winner == "fusion"


def test_json_is_read_as_it_was_written() -> None:
    found = of({"fusion": 0.9})
    assert Comparison.model_validate_json(found.to_json()) == found


@pytest.mark.parametrize(("folds", "seeds", "few"), [(5, 1, True), (6, 1, False), (3, 2, False)])
def test_pairs_of_scores_that_can_show_nothing_are_told_of(
    folds: int, seeds: int, few: bool
) -> None:
    # The fusion is far better in each fold, so that no p could be lower.
    scores = {kind: [0.1 + 0.01 * n for n in range(folds * seeds)] for kind in KINDS}
    scores["fusion"] = [0.9 + 0.01 * n for n in range(folds * seeds)]
    facts = {**FACTS, "folds": folds, "seeds": (*range(seeds),), "paired_by": "fold"}
    found = compared(facts, [*zip(KINDS, KINDS, WEIGHTS, strict=True)], scores, scores)
    assert (found.too_few is not None, found.outcome) == (few, "not shown" if few else "helps")
    assert len(found.sentences) == (3 if few else 2)
    assert of({"fusion": 0.9}, folds=2).too_few is None, "rows are paired"


def test_what_is_too_few_is_told_with_the_least_p() -> None:
    found = scored({kind: [0.1, 0.2, 0.3, 0.4, 0.5] for kind in KINDS}, folds=5)
    assert found.too_few == (
        "No difference could be shown: with 5 paired scores (5 folds, 1 seed), p is at least "
        "0.0625. At least 6 are needed."
    )
