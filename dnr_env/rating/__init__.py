"""People judge labels: what they are shown, what they answered, and what it says of the labels."""
