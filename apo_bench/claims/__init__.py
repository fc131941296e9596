"""The claims of Cheng et al. 2024 (arXiv 2311.08045), each as a contrast that this run's numbers reproduce, contradict or leave open."""
