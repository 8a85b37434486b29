"""What is done with whole data sets, shard by shard: make, export, index, verify, preview."""
