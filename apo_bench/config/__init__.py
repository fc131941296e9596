"""The schema of params.yaml: what sections and keys there are, which values they may have, and what must hold between them.

It says nothing of how a value is used, and has no value itself: a stage runs again if a param changes that it reads, not if the schema
does (tests/pipeline/test_end_to_end.py holds what stages read to the `params` of dvc.yaml).
"""
