"""The OpenAPI document as a page for people: no script, nothing from any other origin."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

Document = dict[str, Any]

# Beside these the page needs nothing.
POLICY = "default-src 'none'; style-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"


def page(document: Document, base: str) -> str:
    """Return the page.

    Args:
        base: The path that the API is under, with a slash at its end.
    """
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title} API</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<base href="{escape(base)}">\n'
        '<link rel="stylesheet" href="console/reference.css">\n</head>\n<body>\n'
        f"<main>\n<h1>{title} API</h1>\n" + "\n".join(_body(document)) + "\n</main>\n</body>\n</html>\n"
    )


def _body(document: Document) -> Iterator[str]:
    for paragraph in document["info"]["description"].strip().split("\n\n"):
        yield f"<p>{_prose(paragraph)}</p>"
    yield '<p>The whole as a document for programs: <a href="openapi.json">openapi.json</a></p>'
    listed = [
        (path, method.upper(), operation)
        for kind in ("paths", "webhooks")
        for path, operations in document.get(kind, {}).items()
        for method, operation in operations.items()
    ]
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>\n<p>{_prose(tag['description'])}</p>"
        for path, method, operation in listed:
            if tag["name"] in operation["tags"]:
                yield from _operation(path, method, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield from _schema(name, schema)


def _operation(path: str, method: str, operation: Document) -> Iterator[str]:
    yield f'<section id="{escape(operation["operationId"])}">'
    yield f"<h3><code>{method}</code> <code>{escape(path)}</code></h3>"
    yield f"<p>{_prose(operation.get('description') or operation['summary'])}</p>"
    if given := operation.get("parameters"):
        yield "<dl>"
        for each in given:
            required = ", required" if each.get("required") else ""
            told = each.get("description") or each["schema"].get("description", "")
            yield f"<dt><code>{escape(each['name'])}</code> <small>{each['in']}{required}</small></dt>"
            yield f"<dd>{_prose(told)}</dd>"
        yield "</dl>"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: {_type(content['schema'])} <small>{escape(media_type)}</small></p>"
        for example in content.get("examples", {}).values():
            yield _example(example["value"])
    yield "<table><tbody>"
    for status, answer in operation["responses"].items():
        kinds = ", ".join(
            f"{_type(content.get('schema', {}))} <small>{escape(media_type)}</small>"
            for media_type, content in answer.get("content", {}).items()
        )
        yield f"<tr><th>{escape(status)}</th><td>{escape(answer['description'])}</td><td>{kinds}</td></tr>"
    yield "</tbody></table>\n</section>"


def _schema(name: str, schema: Document) -> Iterator[str]:
    yield f'<section id="schema-{escape(name)}">'
    yield f"<h3>{escape(name)}</h3>\n<p>{_prose(schema.get('description', ''))}</p>"
    if values := schema.get("enum"):
        yield f"<p>{', '.join(f'<code>{escape(str(value))}</code>' for value in values)}</p>"
    if fields := schema.get("properties"):
        yield "<dl>"
        for field, each in fields.items():
            required = ", required" if field in schema.get("required", []) else ""
            yield f"<dt><code>{escape(field)}</code> <small>{_type(each)}{required}</small></dt>"
            yield f"<dd>{_prose(each.get('description', ''))}</dd>"
        yield "</dl>"
    for example in schema.get("examples", []):
        yield _example(example)
    yield "</section>"


def _type(schema: Document) -> str:
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="docs#schema-{name}">{name}</a>'
    if options := schema.get("anyOf"):
        return " or ".join(_type(each) for each in options)
    if values := schema.get("enum"):
        return ", ".join(escape(json.dumps(value)) for value in values)
    if "const" in schema:
        return escape(json.dumps(schema["const"]))
    kind = escape(str(schema.get("type", "anything")))
    return f"{kind} of {_type(schema['items'])}" if "items" in schema else kind


def _example(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _prose(text: str) -> str:
    """Return text whose backticks mark code, as everywhere in the document."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
