"""Input pipelines as graphs, told apart by what they read and how."""
