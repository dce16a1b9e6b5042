"""The trials of a multirun compared: leaderboard, plots, and the best one as a recipe."""
