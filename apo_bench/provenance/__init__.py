"""Where numbers come from: what dvc.lock says of outputs, what stages and policies took, and which arms may be ranked."""
