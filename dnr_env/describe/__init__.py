"""From real images to candidate concepts: steps 1 and 2 of Describe-and-Dissect."""
