"""How results look: lines for people, documents for programs."""
