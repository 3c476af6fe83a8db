"""What an operator's tools read of each process: Prometheus figures, liveness and readiness."""
