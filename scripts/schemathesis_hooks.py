"""What schemathesis needs to know to send and read JSON lines."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """Whatever was generated as text is sent as it is; all else as one line of JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


@schemathesis.deserializer("application/x-ndjson")
def read_lines(ctx, response):
    """Each line must be JSON; the whole is a text."""
    text = response.content.decode("utf-8")
    for line in text.splitlines():
        json.loads(line)
    return text
