"""Input pipelines as graphs, compared by what they read and how."""
