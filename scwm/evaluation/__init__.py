"""Evaluation: ranking, part masks, pseudo labels, memory weights, the use of parts."""

from scwm.evaluation.label_quality import label_scores
from scwm.evaluation.memory_quality import weight_scores, wrong_members
from scwm.evaluation.parsing_quality import (
    cut_or_shifted,
    effective_parts,
    joint_scores,
    misplaced_share,
    mostly_hidden,
    parsing_scores,
    part_similarity,
    to_grid,
)
from scwm.evaluation.ranking import evaluate_ranking, mean_scores, query_scores, ranked_lists

__all__ = [
    "cut_or_shifted",
    "effective_parts",
    "evaluate_ranking",
    "joint_scores",
    "label_scores",
    "mean_scores",
    "misplaced_share",
    "mostly_hidden",
    "parsing_scores",
    "part_similarity",
    "query_scores",
    "ranked_lists",
    "to_grid",
    "weight_scores",
    "wrong_members",
]
