"""What /openapi.json says of each route: who may call it, what it answers, and every way in which it refuses."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from polytraders.api.guard import PUBLIC

Responses = dict[int | str, dict[str, Any]]


class Refusal(BaseModel):
    """Why a request was not done."""

    error: str = Field(description="Kind of error.")
    what: str = Field(description="What is wrong, in words.")
    code: str = Field("", description="Reason code, where there is one.")
    message: str = Field("", description="The code's sentence for people.")
    mend: str = Field("", description="What to do about it.")


class Outcome(BaseModel):
    """How a request ended that changes something."""

    ok: bool = Field(description="Whether it was done.")
    code: str = Field(description="Reason code.")
    subject: str = Field(description="Id of what it was about.")
    status: str = Field(description="Of the subject afterwards.")
    seq: int = Field(description="Place in the mailbox; 0 = nothing was written, it had been asked before.")
    details: dict[str, Any] = Field(description="What else there is to say.")
    message: str = Field(description="The code's sentence for people.")
    action: str = Field(description="What to do about it.")


def _as(model: type[BaseModel], status: int, told: str) -> Responses:
    # Not by `model`: that would be of the route's own kind of answer, and what we tell of an end is JSON everywhere
    schema = {"type": "object", "$ref": f"#/components/schemas/{model.__name__}"}
    return {status: {"description": told, "content": {"application/json": {"schema": schema}}}}


def _refused(status: int, told: str) -> Responses:
    return _as(Refusal, status, told)


ANYWHERE = {
    **_refused(413, "A body beyond 64 kB, or one whose length is not announced."),
    **_refused(422, "The request makes no sense."),
    **_refused(429, "Too many calls; Retry-After says when the next one may come."),
}
WITH_TOKEN = {
    **_refused(401, "No token, or none in force."),
    **_refused(403, "The token lacks the scope, or the call comes from another site."),
}
MISSING = _refused(404, "There is none of this id.")
DONE = _as(Outcome, 200, "Done.")
NOT_DONE = _as(Outcome, 409, "Understood and refused; the code says why.")
FOREIGN = _refused(403, "The call comes from another site.")


def gives(_several: str = "", **fields: str) -> Responses:
    """The answer 200 as an object. fields: name -> type (of JSON Schema), or several with a space between them."""
    properties: dict[str, Any] = {
        name: {"type": kind.split(" ") if " " in kind else kind} for name, kind in fields.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return {200: {"description": _several or "As asked.", "content": {"application/json": {"schema": schema}}}}


def route(scope: str, *answers: Responses) -> dict[str, Any]:
    """Options of a route that `scope` opens, with its answers beside those that every route has."""
    public = scope == PUBLIC
    told: Responses = dict(ANYWHERE) | (FOREIGN if public else WITH_TOKEN)
    for more in answers:
        told |= more
    security = {} if public else {"security": [{"bearer": []}]}
    return {"openapi_extra": {"x-scope": scope, **security}, "responses": dict(sorted(told.items()))}


def describe(app: FastAPI) -> None:
    """Name every route by the first sentence that is said of it, and say how a caller shows who they are; the
    specification itself can be read by anyone."""
    for one in app.routes:
        if getattr(one, "path", "") == "/openapi.json":
            one.openapi_extra = {"x-scope": PUBLIC}  # type: ignore[attr-defined]
    made = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        told = made()
        if fresh:
            parts = told.setdefault("components", {})
            models = {model.__name__: model.model_json_schema() for model in (Refusal, Outcome)}
            parts.setdefault("schemas", {}).update(models)
            parts.setdefault("securitySchemes", {})["bearer"] = {
                "type": "http",
                "scheme": "bearer",
                "description": "polytraders tokens create",
            }
            for methods in told["paths"].values():
                for operation in methods.values():
                    words = " ".join(operation.get("description", "").split())
                    operation["description"] = words
                    operation["summary"] = words.split(". ")[0].rstrip(".")
        return told

    app.openapi = openapi  # type: ignore[method-assign]
