"""The job API: accepts jobs in every form a client may speak, routes each to one runtime, and tells how it fares."""
