"""The stages of dvc.yaml, one module a stage, run as `python -m pipeline STAGE`."""
