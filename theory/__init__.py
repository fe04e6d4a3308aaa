"""In-context learning as implicit gradient descent: trajectories and bounds."""
