"""Reads what a process tells monitoring, as Prometheus would."""

from http.client import HTTPConnection


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of a page of this host."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
