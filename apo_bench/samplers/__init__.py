"""One file a sampling engine, found by the name that `engines.sampling` has for it: its settings, devices, packages, launch and cures."""
