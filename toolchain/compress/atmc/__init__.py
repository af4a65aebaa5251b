"""Adversarially trained model compression."""
