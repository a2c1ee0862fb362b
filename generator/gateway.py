"""api/openapi.json as Amazon API Gateway takes it: every operation in front of one function, and who may call it.

API Gateway's REST APIs read a subset of OpenAPI 3.0 and refuse or ignore the rest; clients are given the whole document
by the API itself, so here is only what API Gateway acts on.
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html#api-gateway-known-issues-rest-apis
"""

import json
from typing import Any

Manifest = dict[str, Any]

# Stands where the composition puts the URI of the function.
INTEGRATION_URI = "__INTEGRATION_URI__"
# API Gateway knows the key by the header's name; the scheme's name is free.
KEY = "api_key"

_METHODS = ("get", "put", "post", "delete", "head", "patch")
# The console's files are no operations. What nothing else matches is answered by the API, to whoever has a key.
_CONSOLE, _REST = "/console/{proxy+}", "/{proxy+}"
# The longest that API Gateway waits unless somebody asks AWS for more.
_TIMEOUT_MS = 29_000
_BODY = "body"

# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
_REFUSALS = {
    "BAD_REQUEST_BODY": (400, "Bad Request"),
    "BAD_REQUEST_PARAMETERS": (400, "Bad Request"),
    "INVALID_API_KEY": (403, "Forbidden"),
    "WAF_FILTERED": (403, "Forbidden"),
    "REQUEST_TOO_LARGE": (413, "Request Entity Too Large"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type"),
    "THROTTLED": (429, "Too Many Requests"),
    "QUOTA_EXCEEDED": (429, "Too Many Requests"),
    "API_CONFIGURATION_ERROR": (500, "Internal Server Error"),
    "INTEGRATION_FAILURE": (504, "Gateway Timeout"),
    "INTEGRATION_TIMEOUT": (504, "Gateway Timeout"),
}
_RETRY_AFTER_S = {"THROTTLED": 1, "INTEGRATION_FAILURE": 5, "INTEGRATION_TIMEOUT": 5}
# What people should know beyond API Gateway's own word for it.
_MENDS = {
    "BAD_REQUEST_BODY": ": the body is not what /openapi.json says",
    "INVALID_API_KEY": ": send a valid API key in the header X-API-Key",
    "REQUEST_TOO_LARGE": ": upload large inputs, and name them by their URL",
    "THROTTLED": ": this key, or all together, ask too often",
    "QUOTA_EXCEEDED": ": this key has used up its quota",
}


def rest_api(document: Manifest) -> Manifest:
    """Return the body of the REST API for the OpenAPI document of the job API.

    An operation asks for an API key unless the document says `security: []`.
    """
    models: Manifest = {}
    paths = {path: _path(operations, document, models) for path, operations in document["paths"].items()}
    paths[_CONSOLE] = {"get": _method(["proxy"], key=False), "x-amazon-apigateway-any-method": _method(["proxy"])}
    paths[_REST] = {"options": _method(["proxy"], key=False), "x-amazon-apigateway-any-method": _method(["proxy"])}
    return {
        "openapi": "3.0.1",
        "info": {"title": document["info"]["title"], "version": document["info"]["version"]},
        "paths": paths,
        "components": {
            "schemas": models,
            "securitySchemes": {KEY: {"type": "apiKey", "name": "x-api-key", "in": "header"}},
        },
        "x-amazon-apigateway-api-key-source": "HEADER",
        "x-amazon-apigateway-request-validators": {
            _BODY: {"validateRequestBody": True, "validateRequestParameters": False}
        },
        "x-amazon-apigateway-gateway-responses": {
            kind: _refusal(kind, status, title) for kind, (status, title) in _REFUSALS.items()
        },
    }


def _path(operations: Manifest, document: Manifest, models: Manifest) -> Manifest:
    """Return the methods of a path; those that it has no operation for are answered by the API, which says so."""
    listed = {method: operations[method] for method in _METHODS if method in operations}
    inputs = [*operations.get("parameters", []), *(it for each in listed.values() for it in each.get("parameters", []))]
    names = list(dict.fromkeys(it["name"] for it in inputs if it["in"] == "path"))
    methods = {}
    for method, operation in listed.items():
        methods[method] = _method(names, key=operation.get("security") != [])
        if model := _model(operation, document):
            models[model] = _checked(document["components"]["schemas"][model])
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
            methods[method] |= {
                "requestBody": {"required": True, "content": content},
                "x-amazon-apigateway-request-validator": _BODY,
            }
    # A browser asks before it sends a key: whether a page of another origin may, is the API's decision.
    methods["options"] = _method(names, key=False)
    methods["x-amazon-apigateway-any-method"] = _method(names)
    return methods


def _method(parameters: list[str], *, key: bool = True) -> Manifest:
    method: Manifest = {
        "responses": {"200": {"description": "What the API answers."}},
        "x-amazon-apigateway-integration": {
            "type": "aws_proxy",
            "httpMethod": "POST",
            "uri": INTEGRATION_URI,
            "passthroughBehavior": "when_no_match",
            "timeoutInMillis": _TIMEOUT_MS,
        },
    }
    if parameters:
        method["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
        ]
    return method | ({"security": [{KEY: []}]} if key else {})


def _model(operation: Manifest, document: Manifest) -> str | None:
    """Return the name of the schema of the operation's body.

    A body without a name of its own, as those of the guidance's forms, is not checked: their clients know the API's
    answers to whatever is wrong with it.
    """
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name: str = schema.get("$ref", "").rpartition("/")[2]
    return name if name in document.get("components", {}).get("schemas", {}) else None


def _checked(schema: Manifest) -> Manifest:
    """Return what API Gateway checks of a body: that it is an object with what it must have.

    The rest is left to the API, which says all that is wrong at once and where; API Gateway says neither.
    """
    required = schema.get("required", [])
    model: Manifest = {"type": "object"}
    if required:
        kinds = {name: schema["properties"][name].get("type") for name in required}
        model["required"] = required
        model["properties"] = {name: {"type": kind} if kind == "object" else {} for name, kind in kinds.items()}
    return model


def _refusal(kind: str, status: int, title: str) -> Manifest:
    """Return API Gateway's own answer, as problem details; `message` is what it says without them."""
    mend = _MENDS.get(kind, "")
    words = json.dumps({"type": "about:blank", "title": title, "status": status})
    # messageString comes with its quotes.
    template = f'{words[:-1]}, "detail": "$context.error.message{mend}", "message": $context.error.messageString}}'
    headers = {"Content-Type": "application/problem+json", "Access-Control-Allow-Origin": "*"}
    if kind in _RETRY_AFTER_S:
        headers["Retry-After"] = str(_RETRY_AFTER_S[kind])
    return {
        "statusCode": status,
        "responseParameters": {f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers.items()},
        "responseTemplates": {"application/json": template},
    }
