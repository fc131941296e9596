"""Where numbers come from: what dvc.lock says of outputs, what each policy took, and which arms may be ranked."""
