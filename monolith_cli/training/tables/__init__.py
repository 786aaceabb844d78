"""Hash tables in graphs: entries, dumps, iteration, counts, a table of stock ops."""
