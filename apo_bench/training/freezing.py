"""Partial fine-tuning: the lowest layers stay as they are, so that neither their gradients nor what these need are computed or kept.

Source: Lee et al. 2019 (arXiv 1911.03090), who find that training the highest quarter of the layers gives nine tenths of the quality.
"""

from torch import nn
from transformers import PreTrainedModel

from apo_bench.core.errors import ModelError


def freeze_lowest(model: PreTrainedModel, num_layers: int) -> None:
    """Freezes the lowest layers with the embeddings below them, and a head that shares the embeddings' weights; 0: nothing.

    Raises:
        ModelError: the model has no more layers than that.
    """
    if num_layers == 0:
        return
    total = model.config.num_hidden_layers
    if num_layers >= total:
        raise ModelError(f"compute.frozen_layers: {num_layers} leave nothing to train of the model's {total} layers; write less")
    layers = next(module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == total)
    for module in [model.get_input_embeddings(), *layers[:num_layers]]:
        module.requires_grad_(False)
