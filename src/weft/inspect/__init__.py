"""Views of models, one file each."""
