"""What MLflow shows: `description` says what the runs are, from DVC's outputs alone; `store` makes the MLflow store say the same."""
