"""Evaluation: ranking, part masks, pseudo labels."""

from scwm.evaluation.label_quality import label_scores
from scwm.evaluation.parsing_quality import parsing_scores
from scwm.evaluation.ranking import evaluate_ranking, query_scores, ranked_lists

__all__ = [
    "evaluate_ranking",
    "label_scores",
    "parsing_scores",
    "query_scores",
    "ranked_lists",
]
