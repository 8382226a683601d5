"""What several members change, beside one: rankings, errors and batches."""
