"""People judge labels: what they are shown, what they answer, and what their answers say of the labels."""
