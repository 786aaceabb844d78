"""What trainers import into their own process. Its modules import TensorFlow, this one does not."""
