"""Files of rows, read and written a batch at a time: Parquet, Arrow, CSV, JSON lines, arrays and texts, whatever their size."""
