"""The stages of dvc.yaml, a module each, named as its command names it: `files` says what is read and written, `main` does the work.

Nothing else stands here, and no stage imports another.
"""
