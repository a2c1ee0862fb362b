"""What people do to a running service: bring models, make snapshots, look after failed jobs."""
