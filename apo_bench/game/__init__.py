"""The game between reward model and policy made visible: who beats whom, over-optimisation, distribution shift, frontier."""
