"""Positions of training jobs' inputs, read without TensorFlow."""
