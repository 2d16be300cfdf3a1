"""The search for recipes before a comparison, with equal budgets."""
