"""The queue agent: takes jobs from SQS, has the inference server beside it do them, stores the results in S3."""
