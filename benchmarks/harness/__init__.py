"""What the scripts of this folder share: plans, data, budgets, trainings, scores, tables."""
