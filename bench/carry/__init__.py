"""What the benchmarks of the way to SQL, of reports and of outages share."""
