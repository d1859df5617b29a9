"""Training with Stable-Baselines3. It requires the extra `train`."""
