"""A host that is killed again and again at known points, and what must hold on its file."""
