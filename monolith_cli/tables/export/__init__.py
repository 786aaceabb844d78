"""Tables as files that analysts read: Parquet, Arrow, arrays of NumPy."""
