"""How good a mask is: Dice, HD95 and NSD of one case, class by class."""

from .case_scores import mean_dice, score_case

__all__ = ["mean_dice", "score_case"]
