"""What the job API and the agents agree on: messages, results, and where both live in S3. Pure data, no I/O."""
