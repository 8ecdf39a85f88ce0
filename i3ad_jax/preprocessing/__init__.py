"""How pixels become a network's input, and how maps and pictures come back."""
