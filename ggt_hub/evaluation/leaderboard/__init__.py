"""A leaderboard: runs over the same pictures by one protocol, checked before they stand in one table."""

from ggt_hub.evaluation.leaderboard.build import build_leaderboard, open_voting

__all__ = ["build_leaderboard", "open_voting"]
